"""The settings column: what a run is made with. The settings live here once, whatever tab is open."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.diffusion.schedule import SPACINGS
from ddim_app.engine import Engine
from ddim_app.errors import FieldError, shown
from ddim_app.runs.sampling import Recipe
from ddim_app.ui.fields import PRIVATE, dial, raw

UNKNOWN_TIMESTEPS = 100_000
"""Stands for the T of a model that is not here yet; its steps are judged when it is."""


@dataclass(frozen=True)
class Controls:
    """The input components, by the names that recipe and API give them."""

    fields: dict[str, Component]
    seed: gr.Number
    full_chain: gr.Button
    dice: gr.Button
    reuse: gr.Button
    last_seed: gr.State
    keep_seed: gr.Checkbox

    @property
    def model_chosen(self) -> Any:
        """The event of a visitor choosing a model; `input` would also come when Tab only passes through the field."""
        return self.fields["model"].select  # type: ignore[attr-defined]

    @property
    def inputs(self) -> list[Component]:
        return list(self.fields.values())

    def named(self, values: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(self.fields, values, strict=True))


def build(engine: Engine) -> Controls:
    """The column's input components, in the order of the page."""
    names = engine.catalogue.names()
    fields: dict[str, Component] = {}
    fields["model"] = gr.Dropdown(
        names, value=names[0] if names else None, label="Model", allow_custom_value=True, elem_id="model",
        info="One of the list, or an id on the Hugging Face Hub",
    )  # fmt: skip
    fields["steps"] = dial("Steps", "steps", 10, (1, 100), 1, "Network evaluations per picture")
    fields["eta"] = dial("Stochasticity (eta)", "eta", 0, (0, 1), 0.05, "0 is DDIM, 1 has DDPM's variance")
    seed = dial("Seed", "seed", 7, (0, 999), 1, "Names the noise that everything starts from")
    fields["seed"] = seed
    with gr.Row(elem_classes="seed-tools"):
        dice = gr.Button("Roll", size="sm", min_width=60, elem_id="dice", icon=None)
        reuse = gr.Button("Last", size="sm", min_width=60, elem_id="reuse")
        keep_seed = gr.Checkbox(True, label="Keep", container=False, min_width=120, elem_id="keep-seed")
    fields["pictures"] = gr.Slider(1, 16, 4, step=1, label="Pictures", buttons=[], elem_id="pictures")
    full_chain = _advanced(fields, engine, names)
    for name in fields.keys() - {"model", "second_model"}:
        raw(fields[name])
    settings = Controls(fields, seed, full_chain, dice, reuse, gr.State(7), keep_seed)
    _connect(settings, engine)
    return settings


def _advanced(fields: dict[str, Component], engine: Engine, names: list[str]) -> gr.Button:
    """Adds the fold of rarer settings to the fields; returns its button for DDPM's full chain."""
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        with gr.Row():
            fields["ddpm_steps"] = gr.Number(
                0, label="DDPM steps", info="0: same as DDIM", step=1, min_width=100, elem_id="ddpm-steps"
            )
            full_chain = gr.Button("Full chain", size="sm", min_width=90, elem_id="full-chain")
        fields["spacing"] = gr.Dropdown(list(SPACINGS), value="trailing", label="Timestep spacing", elem_id="spacing")
        fields["variance"] = gr.Radio(["small", "large"], value="small", label="DDPM variance", elem_id="variance",
                                   info="small: the posterior's; large: beta's")  # fmt: skip
        fields["clip"] = gr.Radio(["clip", "off", "dynamic"], value="clip", label="Predicted x₀", elem_id="clip",
                               info="clip to [-1, 1], leave it, or threshold by its quantile")  # fmt: skip
        fields["precision"] = gr.Radio(
            [(f"fast ({engine.number_format('fast')})", "fast"), ("exact (fp32)", "fp32"), ("fp64 update", "fp64")],
            value="fast", label="Precision", elem_id="precision",
        )  # fmt: skip
        fields["noise_seed"] = gr.Textbox("", label="Noise seed", info="Empty: follows the seed", max_lines=1, elem_id="noise-seed")
        fields["branch"] = gr.Number(0, label="Branch", info="Another noise for the same seeds", step=1, elem_id="branch")
        fields["second_model"] = gr.Dropdown(
            ["", *names], value="", label="Second model", allow_custom_value=True, elem_id="second-model",
            info="Sampled beside the first from the same noise; empty: none",
        )  # fmt: skip
    return full_chain


def _connect(settings: Controls, engine: Engine) -> None:
    settings.dice.click(None, None, settings.seed, js="() => Math.floor(Math.random() * 2 ** 32)", **PRIVATE)
    settings.reuse.click(lambda seed: seed, settings.last_seed, settings.seed, **PRIVATE)

    def longest(model: Any) -> int:
        try:
            return num_train_timesteps(engine, model)
        except FieldError as error:
            raise gr.Error(str(error), print_exception=False) from error

    def usual(model: Any) -> Any:
        """How the model's authors sample: variance and clipping."""
        if not isinstance(model, str) or not engine.is_here(model):
            return [gr.skip(), gr.skip()]
        try:
            schedule = engine.model(model).schedule
        except FieldError:  # the cost line says it
            return [gr.skip(), gr.skip()]
        return [schedule.variance, schedule.clip]

    model, fields = settings.fields["model"], settings.fields
    settings.full_chain.click(longest, model, fields["ddpm_steps"], **PRIVATE)
    settings.model_chosen(usual, model, [fields["variance"], fields["clip"]], **PRIVATE)


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


def validator(check: Callable[[tuple[Any, ...]], None], names: list[str]) -> Callable[..., Verdicts]:
    """A gradio validator that puts the sentence of `check` on the field it is about, before anything is queued."""

    def judge(*values: Any) -> Verdicts:
        wrong: FieldError | None = None
        try:
            check(values)
        except FieldError as error:
            wrong = error
        place = wrong.field if wrong and wrong.field in names else "steps"
        verdicts = Verdicts(gr.validate(not (wrong and name == place), str(wrong)) for name in names)
        verdicts.refused = wrong.field if wrong else None
        return verdicts

    return judge
