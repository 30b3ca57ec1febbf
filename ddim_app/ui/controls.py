"""The settings column: what a run is made with. The settings live here once, whatever tab is open."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.diffusion.sampler import VARIANCES
from ddim_app.diffusion.schedule import SPACINGS
from ddim_app.engine import Engine
from ddim_app.errors import FieldError, shown
from ddim_app.models.classes import ANY, UNCONDITIONAL
from ddim_app.runs import inversion
from ddim_app.runs.base import PRECISIONS
from ddim_app.runs.methods import METHODS
from ddim_app.runs.sampling import Recipe
from ddim_app.ui import text
from ddim_app.ui.fields import PRIVATE, dial, on_any, only, raw, segments
from ddim_app.ui.page_runs import PageRuns, Words
from ddim_app.ui.training_fold import TrainingFold

UNKNOWN_TIMESTEPS = 100_000
"""Stands for the T of a model that is not here yet; its steps are judged when it is."""


MARKS = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 300, 500, 700, 1000]
"""Steps at which the slider stops."""
OWN_STEPS = {"matrix": 10, "interpolate": 20, "invert": 50, "learn": 10}
"""What the tabs other than Compare begin with: each has its own number of steps."""
MORE_ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim-0": ("DDIM, η = 0", {"method": "ddim", "eta": 0.0}),
    "ddim-1": ("DDIM, η = 1", {"method": "ddim", "eta": 1.0}),
    "ddpm-small": ("DDPM, small variance", {"method": "ddpm", "variance": "small"}),
    "ddpm-large": ("DDPM, σ̂", {"method": "ddpm", "variance": "large"}),
    "2m": (METHODS["2m"].title, {"method": "2m", "eta": 0.0}),
}
"""Arms that Compare may show beside the two of the column: what they are called, and how they differ from DDIM's."""
MAX_ARMS = 4
NO_CLASS: dict[str, Any] = {"class_label": ANY, "guidance": 1}
"""The fields of models with classes, which others do not show, as they are where nothing is asked."""
USED = {
    "ddpm_steps": ("compare", "interpolate"),
    "variance": ("compare", "interpolate"),
    "clip": ("compare", "matrix", "interpolate", "learn"),
    "noise_seed": ("compare", "matrix", "interpolate", "invert", "learn"),
    "branch": ("compare", "matrix", "interpolate", "learn"),
    "second_model": ("compare",),
    "guidance": ("compare", "matrix", "interpolate"),
}
"""The tabs that make use of a rarer setting; the others do not show it."""


@dataclass(frozen=True)
class Controls:
    """The input components, by the names that recipe and API give them."""

    fields: dict[str, Component]
    """Those of Compare."""
    own: dict[str, dict[str, Component]]
    """What other tabs have in the place of some of them."""
    licence: gr.HTML
    """What the chosen model's card says of its licence."""
    training: TrainingFold
    fetched: gr.Button
    """Pressed by the page once a run has brought a model of which nothing was known."""
    full_chain: gr.Button
    more_arms: gr.CheckboxGroup
    """What Compare shows beside DDIM and DDPM, by the names of MORE_ARMS."""

    @property
    def seed(self) -> Component:
        return self.fields["seed"]

    @property
    def model_chosen(self) -> Any:
        """The event of a visitor choosing a model; `input` would also come when Tab only passes through the field."""
        return self.fields["model"].select  # type: ignore[attr-defined]

    @property
    def inputs(self) -> list[Component]:
        return list(self.fields.values())

    @property
    def everyones(self) -> dict[str, Component]:
        """The components of all tabs, by names that tell them apart."""
        return self.fields | {f"{name}_{tab}": field for tab, fields in self.own.items() for name, field in fields.items()}

    def of(self, tab: str) -> "Controls":
        """The controls as that tab has them."""
        return replace(self, fields=self.fields | self.own.get(tab, {}))

    def named(self, values: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(self.fields, values, strict=True))


def build(engine: Engine) -> Controls:
    """The column's input components, in the order of the page."""
    names = engine.catalogue.names()
    fields: dict[str, Component] = {}
    own: dict[str, dict[str, Component]] = {tab: {} for tab in OWN_STEPS}
    fields["model"] = gr.Dropdown(
        names, value=names[0] if names else None, label="Model", allow_custom_value=True, elem_id="model",
    )  # fmt: skip
    licence, training = text.line("", "licence"), TrainingFold()
    fetched = gr.Button("Model is here", visible="hidden", elem_id="model-fetched")
    fields["steps"] = only(_steps("steps", 10), "compare")
    for tab, value in OWN_STEPS.items():
        own[tab]["steps"] = only(_steps(f"steps-{tab}", value), tab)
    eta = dial(
        "Stochasticity η", "eta", 0, (0, 1), 0.01, blend=True, marks=[0, 0.25, 0.5, 0.75, 1], ticks=[(0, "0 DDIM"), (1, "1 DDPM")]
    )
    fields["eta"] = only(eta, "compare", "matrix", "interpolate", "learn")
    ways = [(label, name) for name, label in inversion.METHODS.items()]
    own["invert"]["method"] = only(raw(gr.Dropdown(ways, value="fixed-point", label="Way up", elem_id="invert-method")), "invert")
    fields["seed"] = dial("Seed", "seed", 7, (0, 999), 1, tools=True)
    fields["pictures"] = only(segments("Pictures", "pictures", 4, [1, 4, 9, 16]), "compare")
    own["matrix"]["pictures"] = only(segments("Pictures in a cell", "pictures-matrix", 1, [1, 4, 9, 16]), "matrix")
    full_chain, more_arms = _more(fields, names)
    for field in fields.values():
        if not isinstance(field, gr.Dropdown | gr.HTML):
            raw(field)
    raw(fields["spacing"])
    settings = Controls(fields, own, licence, training, fetched, full_chain, more_arms)
    _connect(settings, engine)
    return settings


def _steps(name: str, value: int) -> gr.HTML:
    ticks = [(mark, str(mark)) for mark in (1, 10, 100, 1000)]
    return dial("Steps", name, value, (1, 1000), 1, log=True, marks=MARKS, ticks=ticks)


def _more(fields: dict[str, Component], names: list[str]) -> tuple[gr.Button, gr.CheckboxGroup]:
    """Adds the fold of rarer settings to the fields; returns its button for DDPM's full chain, and the choice of more arms."""
    with gr.Accordion("More settings", open=False, elem_id="more"):
        fields["ddpm_steps"] = gr.Number(0, label="DDPM's own steps", info="0: as DDIM", step=1, elem_id="ddpm-steps")
        full_chain = only(gr.Button("Full chain", size="sm", elem_id="full-chain"), *USED["ddpm_steps"])
        fields["spacing"] = gr.Dropdown(list(SPACINGS), value="trailing", label="Spacing", elem_id="spacing")
        fields["variance"] = gr.Radio(
            [("σ̂" if name == "large" else name, name) for name in VARIANCES],
            value="small",
            label="DDPM variance",
            elem_id="variance",
        )
        fields["clip"] = gr.Radio(
            [("on", "clip"), ("off", "off"), ("dynamic", "dynamic")], value="clip", label="Clipping", elem_id="clip"
        )
        fields["precision"] = gr.Radio(list(PRECISIONS), value="fast", label="Precision", elem_id="precision")
        fields["noise_seed"] = gr.Textbox("", label="Noise seed", placeholder="as seed", max_lines=1, elem_id="noise-seed")
        fields["branch"] = gr.Number(0, label="Branch", info="Another noise for the same seeds", step=1, elem_id="branch")
        fields["second_model"] = gr.Dropdown(
            ["", *names], value="", label="Second model", allow_custom_value=True, elem_id="second-model"
        )
        fields["class_label"] = raw(
            gr.Dropdown([ANY], value=ANY, label="Class", allow_custom_value=True, visible=False, elem_id="class-label")
        )
        fields["guidance"] = gr.Number(
            1, label="Guidance w", info="1: the class alone; 0: none", step=0.5, visible=False, elem_id="guidance"
        )
        choices = [(label, name) for name, (label, _) in MORE_ARMS.items()]
        more_arms = raw(gr.CheckboxGroup(choices, value=[], label="+ Add", elem_id="more-arms"))
    for name, tabs in USED.items():
        only(fields[name], *tabs)
    return full_chain, only(more_arms, "compare")


def _connect(settings: Controls, engine: Engine) -> None:
    model_field: Any = settings.fields["model"]

    def longest(model: Any) -> int:
        try:
            return num_train_timesteps(engine, model)
        except FieldError as error:
            raise gr.Error(f"{model_field.label} {error.reason}", print_exception=False) from error

    def usual(model: Any) -> Any:
        """How the model's authors sample: variance and clipping."""
        if not isinstance(model, str) or not engine.is_here(model):
            return [gr.skip(), gr.skip()]
        try:
            schedule = engine.model(model).schedule
        except FieldError:  # the cost line says it
            return [gr.skip(), gr.skip()]
        return [schedule.variance, schedule.clip]

    def known(model: Any) -> Any:
        """Sliders of steps that end at T, where it is known."""
        try:
            T = num_train_timesteps(engine, model)
        except FieldError:  # the cost line says it
            T = UNKNOWN_TIMESTEPS
        return [gr.skip() if T == UNKNOWN_TIMESTEPS else gr.update(high=T)] * len(sliders)

    fields = settings.fields
    settings.full_chain.click(longest, model_field, fields["ddpm_steps"], **PRIVATE)
    settings.model_chosen(usual, model_field, [fields["variance"], fields["clip"]], **PRIVATE)
    sliders = [fields["steps"], *(own["steps"] for own in settings.own.values())]
    on_any([model_field.change, settings.fetched.click], known, [model_field], sliders, at_once=True)


def precisions(engine: Engine) -> Any:
    """The choices of Precision, with what "fast" is on this machine, which is known once torch is there."""
    return gr.update(choices=[(f"fast ({engine.number_format(name)})" if name == "fast" else name, name) for name in PRECISIONS])


def licence_of(engine: Engine, model: Any) -> str:
    """What is said of the licence of a model that is here; nothing of one that cannot be used, since the cost line says why."""
    try:
        name = engine.model(model).licence if isinstance(model, str) and engine.is_here(model) else None
    except FieldError:
        return ""
    return f"Licence: {name}" if name else ""


def classes_of(engine: Engine, model: Any, *shown: Any) -> list[Any]:
    """The fields of NO_CLASS as a model that is here needs them, and the values `shown`: hidden where it has none, and let go.

    A value that need not be let go is left out: a link may have set another one meanwhile.
    """
    classes, is_known = UNCONDITIONAL, False
    try:
        classes = engine.model(model).classes if isinstance(model, str) and engine.is_here(model) else UNCONDITIONAL
        is_known = bool(classes.names) and classes.index(str(shown[0]), 0) >= 0
    except FieldError:  # of a model that cannot be used the cost line says it
        pass
    has_null = classes.null is not None
    each = zip((is_known, has_null), NO_CLASS.values(), shown, strict=True)
    field, weight = ({} if kept or now == value else {"value": value} for kept, value, now in each)
    return [
        gr.update(choices=classes.choices() or [ANY], visible=bool(classes.names), **field),
        gr.update(visible=has_null, **weight),
    ]


def num_train_timesteps(engine: Engine, model: Any) -> int:
    """T of a model that is here; a model that would have to be downloaded is judged when it runs. Raises FieldError."""
    if not isinstance(model, str):
        raise FieldError("model", f"must be the name of a model; got {shown(model)}")
    if not engine.is_here(model) and engine.catalogue.is_on_hub(model):
        return UNKNOWN_TIMESTEPS
    return engine.model(model).schedule.num_train_timesteps


Build = Callable[[dict[str, Any], int], Recipe]


def checked(engine: Engine, build_recipe: Build, values: dict[str, Any]) -> Recipe:
    """The recipe of raw values, checked against the model where it is at hand. Raises FieldError."""
    return build_recipe(values, num_train_timesteps(engine, values["model"]))


class Verdicts(list[dict[str, Any]]):
    """What gradio is told of each field; `refused` is the name of the field that is wrong, which may be none of them."""

    refused: str | None = None


def validator(
    runs: PageRuns,
    name: str,
    prepare: Callable[[tuple[Any, ...]], Any],
    names: list[str],
    silent: Collection[str] = (),
    words: Words = str,
) -> Callable[..., Verdicts]:
    """A gradio validator that puts what is wrong on the field it is about, before anything is queued.

    What `prepare` makes of the values is kept for the handler `name`, which says itself what is wrong with the fields in `silent`.
    """

    def judge(request: gr.Request, *values: Any) -> Verdicts:
        if runs.starting:  # the handler judges them, once it can
            return Verdicts(gr.validate(True, "") for _ in names)
        wrong: FieldError | None = None
        try:
            runs.prepare(request, name, values, prepare(values))
        except FieldError as error:
            wrong = None if error.field in silent else error
        place = wrong.field if wrong and wrong.field in names else "steps"
        verdicts = Verdicts(gr.validate(not (wrong and name == place), words(wrong) if wrong else "") for name in names)
        verdicts.refused = wrong.field if wrong else None
        return verdicts

    return judge
