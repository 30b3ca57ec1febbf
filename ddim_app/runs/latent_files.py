"""Latents as values and as `.safetensors` files, with all that it takes to decode them.

There are three kinds. A `single` latent is an ordinary x_T. A `pair` holds x_T and the level below it, which an exact
two-step method needs both of. A `stochastic` one holds x_T, every step's noise and the last step's residual.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from safetensors import SafetensorError

from ddim_app.diffusion import gaussianity
from ddim_app.errors import FieldError, shown
from ddim_app.lazy import Tensor, safetensors_torch, torch
from ddim_app.runs.base import BaseRecipe, check_model, check_weights

FORMAT = "ddim-latent-1"
KINDS = ("single", "pair", "stochastic")
MAX_BYTES = 200_000_000
MAX_LATENTS = 64
SUFFIX = ".safetensors"


@dataclass(frozen=True, eq=False, kw_only=True)
class Latent:
    """What pictures were turned into, and on which levels of which model.

    `x` is (N, C, H, W), float32 or float64: x_T, or x_t of a partial inversion. A `pair` has `second`, the level below, of the
    same shape; a `stochastic` one has `noises` (S - 1, N, C, H, W), the step noise from the first transition to the last but
    one, and the `residual` (N, C, H, W) of the last. `timesteps` are the levels visited by the way back, noisiest first.
    """

    x: Tensor
    second: Tensor | None = None
    noises: Tensor | None = None
    residual: Tensor | None = None
    model: str
    weights: str | None = None
    timesteps: tuple[int, ...]
    eta: float = 0.0
    recipe: BaseRecipe | None = field(default=None)
    """The run that made it."""

    def __post_init__(self) -> None:
        check_model(self.model)
        check_weights(self.weights)
        if not self.timesteps or any(a <= b for a, b in zip(self.timesteps, self.timesteps[1:], strict=False)):
            raise FieldError("latent", "must name its timesteps, falling")
        if self.x.ndim != 4 or not 1 <= len(self.x) <= MAX_LATENTS:
            raise FieldError("latent", f"must hold 1 to {MAX_LATENTS} latents as (N, C, H, W); got {tuple(self.x.shape)}")
        steps = len(self.timesteps) - 1
        expected = {"second": self.x.shape, "noises": (steps, *self.x.shape), "residual": self.x.shape}
        for name, tensor in self.tensors().items():
            shape = tuple(expected.get(name, self.x.shape))
            if tuple(tensor.shape) != shape:
                raise FieldError("latent", f"must have {name} of shape {shape}; got {tuple(tensor.shape)}")
            if tensor.dtype not in (torch.float32, torch.float64) or tensor.dtype != self.x.dtype:
                raise FieldError("latent", f"must hold 32-bit or 64-bit floats of one sort; got {tensor.dtype}")
            if not torch.isfinite(tensor).all():
                raise FieldError("latent", f"must hold finite numbers; its {name} has NaN or infinity")
        if (self.noises is None) != (self.residual is None) or (self.noises is not None and self.second is not None):
            raise FieldError("latent", "must be x alone, x with second, or x with noises and residual")

    @property
    def kind(self) -> str:
        return "pair" if self.second is not None else "stochastic" if self.noises is not None else "single"

    def tensors(self) -> dict[str, Tensor]:
        named = {"x": self.x, "second": self.second, "noises": self.noises, "residual": self.residual}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def check_shape(self, shape: tuple[int, ...]) -> Self:
        """The latent itself, if a model of pictures of `shape` (C, H, W) can decode it; raises FieldError."""
        mine = tuple(self.x.shape[1:])
        if mine != tuple(shape):
            sizes = ["x".join(map(str, size)) for size in (mine, shape)]
            raise FieldError("latent", f"must fit the model: it is {sizes[0]} (channels x height x width), the model's {sizes[1]}")
        return self

    def check_end(self, field: str = "latent") -> Self:
        """The latent itself, if a path between latents can begin at it; raises FieldError.

        A pair or a noise map is more than its x_T, and the x_T of a picture that was inverted may be exact and still no noise.
        """
        if self.kind != "single":
            raise FieldError(
                field, f"must hold ordinary latents (x_T): it holds a {self.kind} latent, which is more than x_T and cannot be "
                "interpolated by its x_T alone; invert the picture by a method with a single latent",
            )  # fmt: skip
        arms: Any = getattr(self.recipe, "arms", ())
        if self.recipe is None or self.recipe.kind != "invert" or arms[0].strength < 1:
            return self
        for moments in gaussianity.look(self.x):
            if not moments.is_noise_wide:
                low, high = gaussianity.NOISE_STDS
                raise FieldError(
                    field, f"must be noise: its standard deviation is {moments.std:.4g}, and only from {low:g} to {high:g} does a "
                    "picture between two latents come out as one; invert with more steps, or by the fixed point",
                )  # fmt: skip
        return self


def save(latent: Latent) -> bytes:
    """The latent as a `.safetensors` file; its metadata has everything but the tensors. Equal latents are equal files."""
    metadata = {
        "format": FORMAT,
        "model": latent.model,
        "timesteps": json.dumps(latent.timesteps),
        "eta": json.dumps(latent.eta),
        **({"weights": latent.weights} if latent.weights else {}),
        **({"recipe": latent.recipe.to_json()} if latent.recipe else {}),
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in latent.tensors().items()}
    return _ordered(safetensors_torch.save(tensors, metadata))


def _ordered(data: bytes) -> bytes:
    """The same file with the names of its header in order: safetensors writes metadata in another one each time."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at whole words
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def load(data: bytes) -> Latent:
    """The latent of a file that `save` wrote; raises FieldError, one sentence, for anything else."""
    from ddim_app.runs.kinds import from_json  # here, since one of the kinds holds a latent file itself

    if len(data) > MAX_BYTES:
        raise FieldError("latent", f"must be a file of at most {MAX_BYTES // 1_000_000} MB; got {len(data) // 1_000_000} MB")
    metadata = _metadata(data)
    if metadata.get("format") != FORMAT:
        raise FieldError("latent", f"must be a latent that this app saved; got a file of format {shown(metadata.get('format'))}")
    try:
        tensors = safetensors_torch.load(data)
        named: dict[str, Any] = {name: tensors.get(name) for name in ("second", "noises", "residual")}
        timesteps, eta = json.loads(metadata["timesteps"]), json.loads(metadata["eta"])
        if not all(type(t) is int and 0 <= t < 100_000 for t in timesteps) or type(eta) not in (int, float):
            raise FieldError("latent", "must name whole timesteps and a number for eta")
        recipe = from_json(metadata["recipe"]) if "recipe" in metadata else None
        return Latent(
            x=tensors["x"], **named, model=metadata["model"], weights=metadata.get("weights"), timesteps=tuple(timesteps),
            eta=float(eta), recipe=recipe,
        )  # fmt: skip
    except FieldError as error:
        raise error if error.field == "latent" else FieldError("latent", f"is broken: {error}") from error
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise FieldError("latent", f"is broken or incomplete ({type(error).__name__}): save it again") from error


def _metadata(data: bytes) -> dict[str, Any]:
    """The file's own words, from its header: eight bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    try:
        if not 2 <= length <= min(len(data) - 8, 10_000_000):
            raise ValueError("no header")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        if not isinstance(metadata, dict):
            raise TypeError("no metadata")
        return metadata
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FieldError("latent", f"must be a {SUFFIX} file of a latent; this is none") from error
