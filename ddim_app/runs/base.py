"""Recipes: everything that defines a run, as one frozen value that checks itself.

A recipe is the only judge of values from outside. Page, API, command line and Python hand over what they were given,
untouched; a wrong value comes back as a FieldError that names the field, the allowed range and the value.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Self

from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.noise import MAX_SEED
from ddim_app.diffusion.sampler import CLIP_RULES, VARIANCES
from ddim_app.diffusion.schedule import SPACINGS

VERSION = 1
METHODS = ("ddim", "ddpm")
PRECISIONS = ("fast", "fp32", "fp64")
BACKENDS = ("torch", "openvino")
MAX_ETA = 2.0
MAX_PICTURES = 16
MAX_ARMS = 64


class FieldError(ValueError):
    """A value that a run cannot have. `field` is its name on the page, in the API and on the command line."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field


class RunError(RuntimeError):
    """A run that had to end; the message is a sentence for the user."""


def shown(value: object) -> str:
    """A value from outside, short enough for a sentence."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int in low..high; a float is taken when it is whole, everything else is refused."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        limits = f"{low} or more" if high is None else f"from {low} to {high}"
        raise FieldError(name, f"must be a whole number {limits}; got {shown(value)}")
    return value


def real(name: str, value: object, low: float, high: float, hint: str = "") -> float:
    """`value` as a float in low..high; NaN, infinities, truth values and text are refused."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FieldError(name, f"must be a number from {low:g} to {high:g}{hint}; got {shown(value)}")
    return float(value)


def choice(name: str, value: object, options: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in options:
        raise FieldError(name, f"must be one of {', '.join(options)}; got {shown(value)}")
    return value


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the runs laid side by side: a sampler and its settings, for all pictures of the recipe.

    `steps` transitions on the grid `spacing`, or on the train timesteps listed in `timesteps`. DDIM has `eta`, DDPM has
    `variance`: "small" is the posterior's (what DDIM has at eta 1), "large" is beta's. An arm may have a `model`, `seed`,
    `noise_seed` or `branch` of its own in place of the recipe's. It may begin where the earlier arm `start_arm` is after
    `start_step` transitions; it then visits those of its timesteps that are still to come.
    """

    method: str = "ddim"
    steps: int = 25
    spacing: str = "trailing"
    timesteps: tuple[int, ...] | None = None
    eta: float = 0.0
    variance: str = "small"
    clip: str = "clip"
    model: str | None = None
    seed: int | None = None
    noise_seed: int | None = None
    branch: int | None = None
    weights: str | None = None
    start_arm: int | None = None
    start_step: int | None = None

    def __post_init__(self) -> None:
        choice("method", self.method, METHODS)
        put(self, "steps", whole("steps", self.steps, 1))
        choice("spacing", self.spacing, SPACINGS)
        put(self, "eta", real("eta", self.eta, 0, MAX_ETA, " (0 is DDIM, 1 has DDPM's variance)"))
        choice("variance", self.variance, VARIANCES)
        choice("clip", self.clip, CLIP_RULES)
        if self.timesteps is not None:
            if not isinstance(self.timesteps, tuple | list):
                raise FieldError("timesteps", f"must be a list of whole numbers; got {shown(self.timesteps)}")
            put(self, "timesteps", tuple(whole("timesteps", t, 0) for t in self.timesteps))
        if self.model is not None:
            check_model(self.model)
        for name in ("seed", "noise_seed", "branch"):
            if getattr(self, name) is not None:
                put(self, name, whole(name, getattr(self, name), 0, MAX_SEED))
        check_weights(self.weights)
        if (self.start_arm is None) != (self.start_step is None):
            raise FieldError("start_step", "and start_arm must be given together")
        for name in ("start_arm", "start_step"):
            if getattr(self, name) is not None:
                put(self, name, whole(name, getattr(self, name), 0))

    @property
    def label(self) -> str:
        """What the arm is called on the page: DDIM(eta) or DDPM, and its model where it has one of its own."""
        ddpm = "DDPM" if self.variance == "small" else "DDPM(σ̂)"
        sampler = f"DDIM(η = {self.eta:g})" if self.method == "ddim" else ddpm
        return f"{sampler}, {self.model}" if self.model else sampler


@dataclass(frozen=True, kw_only=True)
class BaseRecipe:
    """What recipes of every kind have.

    `precision` is "fast" (bf16 where the device computes it, else fp32), "fp32", or "fp64" (network in fp32, update in
    float64). A `bucket` pins the size of every network call, so that a picture can be made again to the last bit beside any
    neighbours, and `backend` what evaluates the network. The recipe of finished pictures names both, and with `weights` the
    sha256 of the model's weights file.
    """

    kind: ClassVar[str]
    """What sort of run it is, as its JSON says."""
    kinds: ClassVar[dict[str, type["BaseRecipe"]]] = {}

    model: str = "avatars-32"
    precision: str = "fast"
    bucket: int | None = None
    backend: str | None = None
    weights: str | None = None
    version: int = field(default=VERSION)

    def __init_subclass__(cls) -> None:
        BaseRecipe.kinds[cls.kind] = cls

    def __post_init__(self) -> None:
        check_model(self.model)
        choice("precision", self.precision, PRECISIONS)
        if self.bucket is not None:
            put(self, "bucket", whole("bucket", self.bucket, 1))
            if self.bucket not in BUCKETS:
                raise FieldError("bucket", f"must be one of {', '.join(map(str, BUCKETS))}; got {shown(self.bucket)}")
        if self.backend is not None:
            choice("backend", self.backend, BACKENDS)
        check_weights(self.weights)
        put(self, "version", whole("version", self.version, 1, VERSION))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all the models that the run asks, the first one's first."""
        return (self.model,)

    @property
    def known_weights(self) -> dict[str, str | None]:
        """The hashes of the weights that it was made with, by the names of its models."""
        return {self.model: self.weights}

    def made(self, hashes: Mapping[str, str]) -> Self:
        """The recipe with the weights that the run was made with, by the names of the models."""
        return replace(self, weights=hashes[self.model])

    def to_json(self) -> str:
        """Canonical JSON: one line, its kind and then keys in the order of the fields, those without a value left out."""
        return json.dumps({"kind": self.kind, **asdict(self, dict_factory=_with_values)}, separators=(",", ":"))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The recipe of a JSON object's values; raises FieldError, or TypeError for unknown keys."""
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Recipe(BaseRecipe):
    """A run of samplers: `pictures` pictures of seeds seed, seed + 1, ... (mod 2^32), each sampled by every arm from the same x_T.

    `noise_seed` and `branch` name the step noise; without a noise_seed it follows the picture's own seed.
    """

    kind = "sampling"

    arms: tuple[Arm, ...]
    seed: int = 0
    pictures: int = 1
    noise_seed: int | None = None
    branch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        put(self, "seed", whole("seed", self.seed, 0, MAX_SEED))
        put(self, "pictures", whole("pictures", self.pictures, 1, MAX_PICTURES))
        if self.noise_seed is not None:
            put(self, "noise_seed", whole("noise_seed", self.noise_seed, 0, MAX_SEED))
        put(self, "branch", whole("branch", self.branch, 0, MAX_SEED))
        if not 1 <= len(self.arms) <= MAX_ARMS:
            raise FieldError("arms", f"must be 1 to {MAX_ARMS} arms; got {len(self.arms)}")
        for i, arm in enumerate(self.arms):
            if arm.start_arm is not None and arm.start_arm >= i:
                raise FieldError("start_arm", f"must be an earlier arm than arm {i}; got {arm.start_arm}")

    def with_arms(self, *arms: Arm) -> Self:
        return replace(self, arms=arms)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.model, *(arm.model for arm in self.arms if arm.model))))

    @property
    def known_weights(self) -> dict[str, str | None]:
        return super().known_weights | {arm.model: arm.weights for arm in self.arms if arm.model}

    def made(self, hashes: Mapping[str, str]) -> Self:
        arms = tuple(replace(arm, weights=hashes[arm.model]) if arm.model else arm for arm in self.arms)
        return replace(super().made(hashes), arms=arms)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "arms": tuple(Arm(**arm) for arm in values["arms"])})


def from_json(text: str) -> BaseRecipe:
    """The recipe that to_json wrote, of whatever kind; raises FieldError when a value is wrong or the text is no recipe."""
    try:
        values = json.loads(text)
        return BaseRecipe.kinds[values.pop("kind", Recipe.kind)].from_values(values)
    except FieldError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FieldError("recipe", f"must be the JSON of a recipe; got {shown(text)}") from error


def _with_values(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def check_model(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or not name.isprintable():
        raise FieldError("model", f"must be the name of a model; got {shown(name)}")


def check_weights(sha256: object) -> None:
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256)):
        raise FieldError("weights", f"must be a sha256 in hexadecimal; got {shown(sha256)}")


def put(value: object, name: str, item: object) -> None:
    """Sets a field of a frozen dataclass from its own __post_init__."""
    object.__setattr__(value, name, item)


def compare(settings: Mapping[str, Any], num_train_timesteps: int) -> Recipe:
    """The recipe of a comparison, DDIM(eta) beside DDPM, from the raw values of the page's or the API's fields.

    `ddpm_steps` of None or 0 means as many as `steps`. A `second_model` is sampled by the same two arms. Raises FieldError at
    the first wrong value.
    """
    T = num_train_timesteps
    steps = whole("steps", settings["steps"], 1, T)
    ddpm_steps = whole("ddpm_steps", 0 if settings["ddpm_steps"] is None else settings["ddpm_steps"], 0, T) or steps
    shared = {"spacing": settings["spacing"], "clip": settings["clip"]}
    arms = (
        Arm(method="ddim", steps=steps, eta=settings["eta"], **shared),
        Arm(method="ddpm", steps=ddpm_steps, variance=settings["variance"], **shared),
    )
    second = settings.get("second_model") or None
    return Recipe(arms=arms + tuple(replace(arm, model=second) for arm in arms if second), **_run(settings))


def generate(settings: Mapping[str, Any], num_train_timesteps: int) -> Recipe:
    """The recipe of one arm from raw values; `timesteps` is None, a list, or text such as "999, 500, 0"."""
    steps = whole("steps", settings["steps"], 1, num_train_timesteps)
    listed = parse_timesteps(settings["timesteps"], num_train_timesteps)
    keys = ("method", "spacing", "eta", "variance", "clip")
    arm = Arm(steps=len(listed) if listed else steps, timesteps=listed, **{key: settings[key] for key in keys})
    return Recipe(arms=(arm,), **_run(settings))


def _run(settings: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("model", "seed", "pictures", "branch", "precision")
    bucket = settings.get("bucket") or None
    return {"noise_seed": parse_noise_seed(settings["noise_seed"]), "bucket": bucket, **{key: settings[key] for key in keys}}


def parse_noise_seed(value: object) -> int | None:
    """A noise seed given as a number or as text; empty means that it follows the seed."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    return whole("noise_seed", value, 0, MAX_SEED)


def parse_timesteps(value: object, num_train_timesteps: int) -> tuple[int, ...] | None:
    """An explicit list of train timesteps, given as a list or as text; empty means none."""
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, str):
        words = value.replace(",", " ").split()
        value = [int(word) if word.isdecimal() and len(word) < 10 else word for word in words]
    if not isinstance(value, list | tuple):
        raise FieldError("timesteps", f"must be a list of whole numbers such as 999, 500, 0; got {shown(value)}")
    entries = tuple(whole("timesteps", t, 0, num_train_timesteps - 1) for t in value)
    if len(set(entries)) != len(entries):
        raise FieldError("timesteps", f"must not name a timestep twice; got {shown(list(entries))}")
    return tuple(sorted(entries, reverse=True))
