"""The Compare tab: DDIM(eta) and DDPM side by side from the same noise."""

import json
import uuid
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from ddim_app.errors import FieldError, shown
from ddim_app.media.images import contact_sheet, enlargement, to_pixels
from ddim_app.runs import codecs, forms
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.sampling import Frame, Recipe, SamplingPlan
from ddim_app.ui import text
from ddim_app.ui.compare.ladder import Ladder
from ddim_app.ui.compare.ladder_files import LadderFiles
from ddim_app.ui.components import stage
from ddim_app.ui.controls import MAX_ARMS, MORE_ARMS, NO_CLASS, Controls, checked
from ddim_app.ui.fields import HERE, PRIVATE
from ddim_app.ui.first_run import RECIPE
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_films import RunFilms
from ddim_app.ui.run_tab import KEEP, RunTab
from ddim_app.ui.training_fold import newest_run

TRAIN = "python -m ddim_app.train --data FOLDER --output runs/mine"
BASE_AND_FINE_TUNED = "Base and fine-tuned"


class Example(NamedTuple):
    """A run that starts in one click, and what it shows."""

    values: dict[str, Any]
    """Of the fields that its words speak of; the others stay as they are."""
    title: str
    sentence: str
    more_arms: tuple[str, ...] = ()


EXAMPLES = {
    "How few steps are enough?": Example(
        {"steps": 10, "eta": 0.0, "ddpm_steps": 0}, "Same noise. Same network. How many steps do you need?",
        "DDIM follows one smooth path, so big steps land near the same place. "
        "DDPM adds new noise at each step, so its picture keeps changing until the steps are small.",
    ),
    "What does η do?": Example(
        {"eta": 0.5}, "η lets noise in.",
        "At η = 0 DDIM adds none; the larger η, the more of DDPM's noise each step adds, and the more the picture depends on it.",
    ),
    "Same noise, more steps": Example(
        {"steps": 50, "eta": 0.0, "ddpm_steps": 0}, "The same noise, with more steps.",
        "DDIM's picture stays nearly as it was with few steps; DDPM's becomes another one.",
    ),
    "DDPM’s two variances": Example(
        {"steps": 10, "ddpm_steps": 0, "variance": "small"}, "DDPM has two variances.",
        "With few steps the larger one, σ̂, leaves grain in the picture; the smaller one makes it smooth, and still another one.",
        ("ddpm-large",),
    ),
    "η = 1 is DDPM": Example(
        {"eta": 1.0, "ddpm_steps": 0, "variance": "small"}, "At η = 1 DDIM is DDPM.",
        "One family of samplers: with η = 1 and the same noise at each step, the two pictures are equal to the last bit.",
    ),
    BASE_AND_FINE_TUNED: Example(
        {}, "The same noise, two sets of weights.",
        f"The chosen model, and the newest one that was fine-tuned here at equal seeds; {TRAIN} makes one.",
    ),
}  # fmt: skip


def with_more(recipe: Recipe, names: Any) -> Recipe:
    """The recipe of a comparison with more arms, by the names of MORE_ARMS; raises FieldError."""
    if not isinstance(names, list | tuple) or not all(name in MORE_ARMS for name in names):
        raise FieldError("arms", f"must be among {', '.join(MORE_ARMS)}; got {shown(names)}")
    more = (replace(recipe.arms[0], **{"eta": 0.0, **MORE_ARMS[name][1]}) for name in MORE_ARMS if name in names)
    arms = (*recipe.arms, *more)
    if len(arms) > MAX_ARMS:
        raise FieldError("arms", f"must be at most {MAX_ARMS} in all; got {len(arms)}: a second model takes two")
    return recipe.with_arms(*arms)


class CompareTab(RunTab):
    """DDIM(eta) beside DDPM, step by step, from the same noise."""

    title, name, more_fields = "Compare", "compare", ("arms",)
    told = "window.ran(values);"
    headline, sentence = next(iter(EXAMPLES.values()))[1:3]

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        first = stage.stored_value()
        self.inputs = [*self.settings.inputs, self.settings.more_arms]
        self.also = self._examples()
        self.stage = stage.component(first)
        self.ladder = Ladder(self)
        LadderFiles(self.ladder)
        stage.replay()
        with gr.Accordion("Wipe between the two", open=False, elem_id="wipe-fold"):
            self.wipe = gr.ImageSlider(
                None, format="png", label="DDIM left, DDPM right", interactive=False, elem_id="wipe", buttons=["fullscreen"]
            )
        self.tape = gr.State(None)
        self.films = RunFilms(self.tape, runs.engine)
        self.recipe = text.line(first["recipe"], "recipe")
        self.outputs = [self.stage, self.wipe, self.recipe, self.tape]

    def connect(self, demo: gr.Blocks) -> None:
        self.ladder.connect()

    def share_gif(self, button: gr.Button, file: gr.HTML) -> None:
        self.films.make_on(button, file, "['gif', 'pred_x0', 10]", HERE.format(self.name))

    def _examples(self) -> list[Any]:
        """Buttons that set all that their words speak of, after which a run is to start.

        Not gr.Examples, which sends each component anew with its properties, and so loses those that hand over raw values.
        """
        arms = [self.settings.fields["second_model"], self.settings.more_arms]
        with gr.Row(elem_classes="chips", elem_id="examples"):
            buttons = {words: gr.Button(words, size="sm", min_width=60) for words in EXAMPLES}

        def pressed(words: str) -> Any:
            outputs = [*(self.settings.fields[name] for name in EXAMPLES[words].values), *arms]
            # Queued where it may be refused: Gradio tells a page nothing of why an event failed that was not.
            queued = {"queue": words == BASE_AND_FINE_TUNED}
            return buttons[words].click(lambda: self._example(words), None, outputs, **PRIVATE | queued)

        events = {words: pressed(words) for words in EXAMPLES}
        refused = "() => { document.dispatchEvent(new Event('refused')); return []; }"
        events[BASE_AND_FINE_TUNED].failure(None, None, None, js=refused, **PRIVATE)
        return list(events.values())

    def _example(self, words: str) -> list[Any]:
        """Values of the example's fields, and which arms there are: a second model or none, and the arms besides."""
        example, second = EXAMPLES[words], ""
        if words == BASE_AND_FINE_TUNED:
            second = newest_run(self.runs.engine) or ""
            if not second:
                raise gr.Error(f"There is no fine-tuned model here yet; {TRAIN} makes one.", print_exception=False)
        return [*example.values.values(), second, list(example.more_arms)]

    @property
    def marks(self) -> str:
        """JavaScript that marks the example that was pressed while the `values` of all inputs are those that it has set."""
        names = list(self.named_inputs)
        known = {
            words: {names.index(name): value for name, value in {**example.values, "arms": example.more_arms}.items()}
            | {names.index("second_model"): None if words == BASE_AND_FINE_TUNED else ""}
            for words, example in EXAMPLES.items()
        }
        return f"window.marked('examples', {json.dumps(known, ensure_ascii=False)}, values);"

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Recipe, None]:
        recipe = checked(self.runs.engine, forms.compare, self.settings.named(values[:-1]))
        return with_more(recipe, values[-1]) if values[-1] else recipe, None

    def values_of(self, recipe: BaseRecipe) -> list[Any] | None:
        values, more = codecs.compare_values(recipe), []
        if values is None and isinstance(recipe, Recipe) and 2 < len(recipe.arms) <= MAX_ARMS:
            two = recipe.with_arms(*recipe.arms[:2])
            values = codecs.compare_values(two)
            more = [name for name in MORE_ARMS if values and any(with_more(two, [name]).arms[2] == arm for arm in recipe.arms[2:])]
            if values is None or with_more(two, more).arms != recipe.arms:
                return None
        return None if values is None else [*({**NO_CLASS, **values}[name] for name in self.settings.fields), more]

    def stored_recipe(self, settings: Any = None) -> Recipe | None:
        if not isinstance(settings, dict):
            return RECIPE
        try:
            named = {**settings, "precision": RECIPE.precision}
            return self.recipe_of(tuple(named.get(name) for name in (*self.settings.fields, "more_arms")))[0]
        except FieldError:  # of no stored pictures
            return None

    def behind(self, recipe: Recipe) -> int:
        return self.ladder.evaluations(recipe)

    def board(self, plan: SamplingPlan, about: int | None) -> stage.StageFrames:
        """What collects the frames; `about` is the serial of a live run."""
        return stage.StageFrames(plan, f"live {about}" if about else uuid.uuid4().hex, about or 0)

    def before(self, recipe: Recipe) -> list[Any]:
        # The pictures of the run before stay, with their own recipe, until there are new ones; the wipe would outlive them.
        return [KEEP, None, KEEP, KEEP]

    def update(self, board: stage.StageFrames, plan: SamplingPlan, frames: list[Frame]) -> list[Any]:
        return [board.add(frames), KEEP, text.recipe_line(plan), board.tape]

    def early(self, board: stage.StageFrames, newest: dict[int, Frame]) -> list[Any]:
        return [board.early(newest.values()), KEEP, KEEP, KEEP]

    def last(self, board: stage.StageFrames, plan: SamplingPlan, frames: list[Frame], error: str | None) -> list[Any]:
        board.add(frames)
        sheets = KEEP if error else final_sheets(plan, board)
        return [board.complete(plan.recipe), sheets, text.recipe_line(plan), board.tape]


def final_sheets(plan: SamplingPlan, reel: stage.StageFrames) -> tuple[Image.Image, Image.Image]:
    """The finished pictures of the two arms, each as one sheet with square pixels."""
    scale = enlargement(*plan.model.shape[1:])
    left, right = (contact_sheet(to_pixels(reel.finals[arm]), scale=scale) for arm in (0, 1))
    for sheet in (left, right):
        sheet.info.update(codecs.texts(plan.recipe))  # gradio keeps it in the PNG that it makes
    return left, right
