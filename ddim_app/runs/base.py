"""Recipes: everything that defines a run, as one frozen value that checks itself.

A recipe is the only judge of values from outside. Page, API, command line and Python hand over what they were given,
untouched; a wrong value comes back as a FieldError that names the field, the allowed range and the value.
"""

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.sampler import Process
from ddim_app.errors import FieldError, choice, shown, whole
from ddim_app.lazy import torch
from ddim_app.models.classes import checked_label
from ddim_app.models.loading import Model
from ddim_app.models.names import canonical

VERSION = 1
PRECISIONS = ("fast", "fp32", "fp64")
BACKENDS = ("torch", "openvino")
MAX_ETA = 2.0
LINK = "link"
"""Key beside those of a recipe in the JSON inside a film or sheet: the address that opens its run."""


@dataclass(frozen=True, kw_only=True)
class BaseRecipe:
    """What recipes of every kind have.

    `precision` is "fast" (bf16 where the device computes it, else fp32), "fp32", or "fp64" (network in fp32, update in
    float64). A `bucket` pins the size of every network call, so that a picture can be made again to the last bit beside any
    neighbours, and `backend` what evaluates the network. The recipe of finished pictures names both, and with `weights` the
    sha256 of the model's weights file; a link has its first 8 digits. Of a model with classes, `class_label` names one, by its
    name or index, or "none", the null class; left out, each picture has the class of its seed, modulo their number.
    """

    kind: ClassVar[str]
    """What sort of run it is, as its JSON says."""

    model: str = "avatars-32"
    precision: str = "fast"
    bucket: int | None = None
    backend: str | None = None
    weights: str | None = None
    class_label: str | None = None
    version: int = field(default=VERSION)

    def __post_init__(self) -> None:
        put(self, "model", check_model(self.model))
        choice("precision", self.precision, PRECISIONS)
        if self.bucket is not None:
            put(self, "bucket", whole("bucket", self.bucket, 1))
            if self.bucket not in BUCKETS:
                raise FieldError("bucket", f"must be one of {', '.join(map(str, BUCKETS))}; got {shown(self.bucket)}")
        if self.backend is not None:
            choice("backend", self.backend, BACKENDS)
        check_weights(self.weights)
        put(self, "class_label", checked_label(self.class_label))
        put(self, "version", whole("version", self.version, 1, VERSION))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all the models that the run asks, the first one's first."""
        return (self.model,)

    @property
    def known_weights(self) -> dict[str, str | None]:
        """The hashes of the weights that it was made with, by the names of its models."""
        return {self.model: self.weights}

    def made(self, hashes: Mapping[str, str | None]) -> Self:
        """The recipe with the weights that the run was made with, by the names of the models."""
        return replace(self, weights=hashes[self.model])

    def to_json(self) -> str:
        """Canonical JSON: one line, its kind and then keys in the order of the fields, those without a value left out."""
        return json.dumps({"kind": self.kind, **asdict(self, dict_factory=_with_values)}, separators=(",", ":"))

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The recipe of a JSON object's values; raises FieldError, or TypeError for unknown keys."""
        return cls(**values)


def _with_values(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def with_link(recipe: str, link: str) -> str:
    """A recipe's JSON with a link beside it, where there is one."""
    return json.dumps({**json.loads(recipe), LINK: link}, separators=(",", ":")) if link else recipe


def check_model(name: object) -> str:
    """The name without spaces around it, and as an id where it was the address of a page of the Hub."""
    if not isinstance(name, str) or not name.strip() or len(name) > 200 or not name.isprintable():
        raise FieldError("model", f"must be the name of a model; got {shown(name)}")
    return canonical(name)


def check_weights(sha256: object) -> None:
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch("[0-9a-f]{8}([0-9a-f]{56})?", sha256)):
        raise FieldError("weights", f"must be a sha256 in hexadecimal, or its first 8 digits; got {shown(sha256)}")


def put(value: object, name: str, item: object) -> None:
    """Sets a field of a frozen dataclass from its own __post_init__."""
    object.__setattr__(value, name, item)


Asked = Mapping[int, int]
"""Rows by the network that they are asked of, which is named by its place among the run's models."""


class ArmCost(NamedTuple):
    """What an arm costs."""

    pictures: int
    """Pictures that it makes."""
    nfe: int
    """Network evaluations of each."""


def rows_in_step(spans: Sequence[tuple[range, int, int]]) -> Iterator[Sequence[Asked]]:
    """Steps of one round each, in which every (steps, network, rows) asks for its rows while it lasts."""
    for k in range(max((span.stop for span, _, _ in spans), default=0)):
        asked: Counter[int] = Counter()
        for span, network, rows in spans:
            if k in span:
                asked[network] += rows
        yield [asked]


class Collector(Protocol):
    """Makes a run's result from its events."""

    def add(self, event: Any, /) -> object: ...

    @property
    def result(self) -> Any: ...


class KeptEvents:
    """Collects events of one type; the result is their list, in the order of the arms where they have one."""

    def __init__(self, *kinds: type) -> None:
        self._kinds = kinds
        self._events: list[Any] = []

    def add(self, event: Any) -> None:
        if isinstance(event, self._kinds):
            self._events.append(event)

    @property
    def result(self) -> list[Any]:
        return sorted(self._events, key=lambda event: getattr(event, "arm", 0))


@dataclass(frozen=True)
class Plan(ABC):
    """A checked recipe with everything that the engine needs to run it. There is one kind for each kind of recipe.

    A process, which may ask for what `steps` says, reports once a step (see `sampler.Report`: the 0-based step `k`, and whether
    all is finite). `frames` makes of a report what readers get, tensors on the CPU, with `k` and, where the run has arms, `arm`.
    """

    recipe: Any
    models: tuple[Model, ...]
    """The models of the run, in the order in which its queries name them."""

    @property
    def model(self) -> Model:
        return self.models[0]

    @abstractmethod
    def steps(self) -> Iterator[Sequence[Asked]]:
        """The steps that the run reports, each with its rounds: the rows that a round asks of each network, at most.

        A run that adapts, such as a fixed point that has converged, may ask for fewer. All costs are derived from this.
        """

    @property
    @abstractmethod
    def arms(self) -> Sequence[ArmCost]:
        """Pictures and evaluations of each arm."""

    @cached_property
    def _steps(self) -> tuple[Sequence[Asked], ...]:
        return tuple(self.steps())

    @cached_property
    def evaluations(self) -> int:
        """Rows that the networks evaluate in all."""
        return self.evaluated(self.transitions)

    @property
    def transitions(self) -> int:
        """How many steps the run reports, as the status line counts them."""
        return len(self._steps)

    @property
    def at_once(self) -> int:
        """Pictures that are on their way at a time, those of all its arms."""
        return sum(arm.pictures for arm in self.arms)

    @property
    def nfe(self) -> tuple[int, ...]:
        """Evaluations really made per picture; several numbers where its arms differ."""
        return tuple(sorted({arm.nfe for arm in self.arms}))

    def calls(self, max_rows: int) -> int:
        """Network calls that the run needs when it is alone and a call may have `max_rows` rows."""
        return self.call_sizes(max_rows).total()

    def call_sizes(self, max_rows: int) -> Counter[tuple[int, int]]:
        """How many of these calls ask a network, by its place, for how many rows."""
        sizes: Counter[tuple[int, int]] = Counter()
        for network, rows in (item for step in self._steps for asked in step for item in asked.items()):
            sizes[network, max_rows] += rows // max_rows
            sizes[network, rows % max_rows] += rows % max_rows > 0
        return +sizes

    def evaluated(self, done: int) -> int:
        """Rows evaluated after `done` steps."""
        return sum(rows for step in self._steps[:done] for asked in step for rows in asked.values())

    @abstractmethod
    def process(self, device: "torch.device") -> Process:
        """The run itself."""

    @abstractmethod
    def frames(self, report: Any) -> Iterator[Any]:
        """What readers are told of a report, with its tensors on the CPU; every frame has `k`, the 0-based step."""

    @abstractmethod
    def collector(self) -> Collector:
        """What makes the run's result from its frames."""


Load = Callable[[str], Model]
