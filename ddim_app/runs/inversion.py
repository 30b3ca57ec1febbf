"""The recipe of an inversion: pictures up to latents and down again, by several methods side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ddim_app.diffusion.noise import MAX_SEED
from ddim_app.diffusion.schedule import SPACINGS
from ddim_app.errors import FieldError, choice, real, shown, whole
from ddim_app.runs.base import MAX_ETA, BaseRecipe, check_model, check_weights, put
from ddim_app.runs.sources import Source

METHODS = {
    "ddim-target": "DDIM reversed, told the target's timestep",
    "ddim-source": "DDIM reversed, told the source's timestep",
    "fixed-point": "Fixed point",
    "o-belm": "O-BELM, exact pair",
    "o-belm-single": "O-BELM, one latent of the pair",
    "stochastic": "DDPM noise, x_t drawn independently",
    "stochastic-chain": "DDPM noise, x_t drawn down the chain",
    "sdedit": "Noise and denoise (SDEdit)",
}
"""Methods of inversion, and what they are called on the page."""
STOCHASTIC = ("stochastic", "stochastic-chain")
ONE_GRID = ("o-belm", *STOCHASTIC)
"""Methods whose latents are decoded on the levels and with the eta that they were made with."""
PRECISIONS = ("fp32", "fp64")
BUDGET_PER_STEP = 4
"""Evaluations of the fixed-point method for each step, where a recipe names no budget."""
MAX_PICTURES = 64
MAX_ARMS = 64


@dataclass(frozen=True, kw_only=True)
class InversionArm:
    """One arm of an InvertRecipe: a method of inversion and the sampler that decodes its latent.

    `steps` on the grid `spacing`, of which the lower part `strength` is gone up; the way down has `decode_steps` on the whole grid,
    as many as `steps` unless given, and `eta`: 0 unless given (DDIM), and 1 (DDPM) where the method is stochastic. The
    fixed-point method has `evaluations` for the way up, 4 for each step unless given, and ends a step at a residual of
    `tolerance`.
    """

    method: str = "ddim-target"
    steps: int = 50
    spacing: str = "trailing"
    strength: float = 1.0
    decode_steps: int | None = None
    eta: float | None = None
    evaluations: int | None = None
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        choice("method", self.method, tuple(METHODS))
        put(self, "steps", whole("steps", self.steps, 1))
        choice("spacing", self.spacing, SPACINGS)
        put(self, "strength", real("strength", self.strength, 0, 1, " (the part of the way up that is gone)"))
        if self.strength == 0:
            raise FieldError("strength", "must be above 0: at 0 the picture would stay as it is")
        if self.decode_steps is not None:
            put(self, "decode_steps", whole("decode_steps", self.decode_steps, 1))
        eta = (1.0 if self.method in STOCHASTIC else 0.0) if self.eta is None else real("eta", self.eta, 0, MAX_ETA)
        put(self, "eta", eta)
        if self.method in STOCHASTIC and eta < 0.001:
            raise FieldError("eta", "must be 0.001 or more for a stochastic method: at 0 the sampler has no noise to solve for")
        if self.method == "o-belm" and eta:
            raise FieldError("eta", f"must be 0 for o-belm, which is deterministic; got {eta:g}")
        if self.method in ONE_GRID and self.decode_steps not in (None, self.steps):
            raise FieldError("decode_steps", f"must be as many as steps for {self.method}: its latents belong to their levels")
        if self.evaluations is not None:
            put(self, "evaluations", whole("evaluations", self.evaluations, 1, 100_000))
        put(self, "tolerance", real("tolerance", self.tolerance, 0, 1))

    @property
    def label(self) -> str:
        return METHODS[self.method]


@dataclass(frozen=True, kw_only=True)
class InvertRecipe(BaseRecipe):
    """Pictures, each inverted and brought back by every arm, on the model `model` up and `decode_model` down.

    A source that is a seed stands for the model's own sample of it, by DDIM without clipping on the first arm's steps, as it came
    out or `clamped` to [-1, 1]. `noise_seed` names the noise of the stochastic methods. `self_interpolation` also draws what lies
    between the x_T that such a picture was made from and the one that is found.
    """

    kind = "invert"

    sources: tuple[Source, ...]
    arms: tuple[InversionArm, ...]
    decode_model: str | None = None
    decode_weights: str | None = None
    clamped: bool = False
    noise_seed: int = 0
    self_interpolation: bool = False
    precision: str = "fp32"

    def __post_init__(self) -> None:
        choice("precision", self.precision, PRECISIONS)
        super().__post_init__()
        put(self, "noise_seed", whole("noise_seed", self.noise_seed, 0, MAX_SEED))
        if not 1 <= len(self.sources) <= MAX_PICTURES:
            raise FieldError("sources", f"must be 1 to {MAX_PICTURES} pictures; got {len(self.sources)}")
        if not 1 <= len(self.arms) <= MAX_ARMS:
            raise FieldError("arms", f"must be 1 to {MAX_ARMS} arms; got {len(self.arms)}")
        for name in ("clamped", "self_interpolation"):
            if not isinstance(getattr(self, name), bool):
                raise FieldError(name, f"must be true or false; got {shown(getattr(self, name))}")
        if self.decode_model is not None:
            put(self, "decode_model", check_model(self.decode_model))
        check_weights(self.decode_weights)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.model, self.decode_model or self.model)))

    @property
    def known_weights(self) -> dict[str, str | None]:
        return super().known_weights | ({self.decode_model: self.decode_weights} if self.decode_model else {})

    def made(self, hashes: Mapping[str, str | None]) -> Self:
        made = super().made(hashes)
        return replace(made, decode_weights=hashes[self.decode_model]) if self.decode_model else made

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        sources = tuple(Source.from_values(source) for source in values["sources"])
        return cls(**{**values, "sources": sources, "arms": tuple(InversionArm(**arm) for arm in values["arms"])})
