"""What the panels of the Learn tab have in common, and what they are given to show."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradio.components import Component
from PIL import Image

from ddim_app.diffusion.noise import Shape, initial_noise
from ddim_app.diffusion.schedule import Level, Schedule, betas, cumulative
from ddim_app.engine import Engine
from ddim_app.errors import FieldError, whole
from ddim_app.lazy import Tensor, torch
from ddim_app.models.loading import Model
from ddim_app.runs import forms
from ddim_app.runs.base import BaseRecipe, check_model
from ddim_app.runs.lessons import LessonRecipe, LookResult
from ddim_app.runs.sampling import Recipe
from ddim_app.runs.sources import Source, of_image
from ddim_app.ui.run_tab import KEEP

FALLBACK: Shape = (3, 32, 32)


YOURS = "yours, cut to the model's shape"


@dataclass(frozen=True)
class LessonScene:
    """The settings column and the picture as panels see them, checked."""

    engine: Engine
    named: dict[str, Any]
    compared: Recipe
    """The settings as numbers: its first arm is DDIM's."""
    model: Model | None
    """None where it cannot be used; `reason` says why, and the schedule is then DDPM's linear one."""
    reason: str
    image: Image.Image

    @cached_property
    def schedule(self) -> Schedule:
        return self.model.schedule if self.model else Schedule(cumulative(betas()))

    @property
    def shape(self) -> Shape:
        return self.model.shape if self.model else FALLBACK

    @cached_property
    def source(self) -> Source:
        return of_image(self.image, self.shape)

    @cached_property
    def x0(self) -> Tensor:
        """(1, C, H, W)."""
        return self.source.tensor(self.shape)

    @property
    def small(self) -> Shape:
        """The picture at no more than 32 pixels a side, for what needs no network but very many draws."""
        channels, height, width = self.shape
        return channels, min(height, FALLBACK[1]), min(width, FALLBACK[2])

    @cached_property
    def small_source(self) -> Source:
        return of_image(self.image, self.small)

    @cached_property
    def small_x0(self) -> Tensor:
        """(1, C, H, W)."""
        return self.small_source.tensor(self.small)

    @cached_property
    def middle_pixel(self) -> float:
        return float(self.small_x0.flatten()[self.small_x0.numel() // 2])

    @cached_property
    def noise(self) -> Tensor:
        """(1, C, H, W), of the seed."""
        return initial_noise([self.compared.seed], self.shape)

    @property
    def eta(self) -> float:
        return self.compared.arms[0].eta

    @property
    def grid(self) -> list[Level]:
        arm = self.compared.arms[0]
        return self.schedule.levels(arm.steps, arm.spacing)

    def generator(self) -> "torch.Generator":
        return torch.Generator().manual_seed(self.compared.seed)

    def t(self, value: object) -> int:
        """A timestep from outside; raises FieldError."""
        return whole("t", value, 0, self.schedule.num_train_timesteps - 1)

    def need_model(self) -> Model:
        if self.model is None:
            raise FieldError("model", f"{self.reason}. This panel needs the network, so it is off")
        return self.model

    def lesson(self, lesson: str, timesteps: list[int], **values: Any) -> LessonRecipe:
        """A small run with these settings."""
        arm = self.compared.arms[0]
        settings = {name: getattr(self.compared, name) for name in ("model", "precision", "seed", "class_label")}
        shared = {
            "picture": self.source,
            "steps": arm.steps,
            "spacing": arm.spacing,
            "eta": arm.eta,
            "clip": arm.clip,
            **settings,
            **values,
        }
        return LessonRecipe(lesson=lesson, timesteps=tuple(timesteps), **shared)

    def look(self, *timesteps: int) -> LookResult:
        """The network's view of the picture noised to each timestep, one evaluation each; waits for the device."""
        self.need_model()
        (sight,) = self.engine.run(self.lesson("look", list(timesteps)))
        return sight  # type: ignore[no-any-return]


def scene(engine: Engine, named: dict[str, Any], image: Image.Image) -> LessonScene:
    """Raises FieldError for settings that no run could have."""
    name = check_model(named["model"])
    if not engine.is_here(name) and engine.catalogue.is_on_hub(name):
        raise FieldError("model", "is not here yet: it is downloaded when you press Run on the Compare tab")
    model, reason = _usable(engine, name)
    T = model.schedule.num_train_timesteps if model else 1000
    return LessonScene(engine, named, forms.compare(named, T), model, reason, image)


def named_picture(of: str, image: Image.Image, model: Any, seed: Any) -> str:
    """The sentence that names what a panel's `talks_of` is just now."""
    known = {"picture": image.info.get("of", YOURS), "seed": f"what {model} makes of seed {seed}"}
    return f"Picture: {known[of]}." if of else ""


def _usable(engine: Engine, name: str) -> tuple[Model | None, str]:
    """The model, or why the panels cannot use it: a learned variance, say."""
    try:
        model = engine.model(name)
    except FieldError as error:
        return None, str(error).removeprefix("model ")
    if model.shape[0] not in (1, 3):
        return None, f"{model.name} has {model.shape[0]} channels, neither grey nor colour"
    return model, ""


class Panel(ABC):
    """One panel: its components, made inside its chapter, and how they are filled."""

    name: str
    inputs: list[Component]
    outputs: list[Component]
    fields: tuple[str, ...] = ()
    """Names of its inputs, for messages on them."""
    needs_model = True
    talks_of = "picture"
    """What its pictures are of: the chosen "picture", what the model makes of the "seed", or nothing of either."""

    @abstractmethod
    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        """Its outputs for the settings, at most one evaluation of the network away; raises FieldError."""


class RunPanel(Panel):
    """A panel with a run of its own, behind a button in its chapter. Its run fills `run_outputs`."""

    run_outputs: list[Component]

    @abstractmethod
    def recipe_of(self, scene: LessonScene, *values: Any) -> BaseRecipe:
        """What Run starts; raises FieldError."""

    @abstractmethod
    def board(self, plan: Any, scene: LessonScene) -> Any:
        """What collects the run's frames."""

    def update(self, board: Any, frames: list[Any]) -> list[Any]:
        """The run's outputs midway."""
        for frame in frames:
            board.add(frame)
        return [KEEP] * len(self.run_outputs)

    @abstractmethod
    def last(self, board: Any, scene: LessonScene) -> list[Any]:
        """The run's outputs when it is through."""
