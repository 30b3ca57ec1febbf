"""The Learn tab: one story in chapters, and what goes deeper. Only the chapter in sight computes; some have a run of their own."""

from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from ddim_app.errors import FieldError
from ddim_app.runs.base import BaseRecipe
from ddim_app.ui import text
from ddim_app.ui.controls import Controls
from ddim_app.ui.fields import HERE, PRIVATE
from ddim_app.ui.hosting.gradio_patches import event_data
from ddim_app.ui.learn import figures, picture, world_card
from ddim_app.ui.learn.bound_panels import BoundPanel, LossPanel, RatePanel
from ddim_app.ui.learn.chain_panels import DenoisePanel, ProgressPanel
from ddim_app.ui.learn.chapters import WORLD, Chapter, chapters, foot, head
from ddim_app.ui.learn.family_panel import FamilyPanel
from ddim_app.ui.learn.forward_panel import ForwardPanel
from ddim_app.ui.learn.inversion_panel import InversionPanel
from ddim_app.ui.learn.panel import LessonScene, Panel, RunPanel, named_picture, scene
from ddim_app.ui.learn.schedule_panel import SchedulePanel
from ddim_app.ui.learn.score_panel import ScorePanel
from ddim_app.ui.learn.step_panel import StepPanel
from ddim_app.ui.learn.variance_panel import VariancePanel
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import KEEP, RunTab

NO_RUN = "has nothing to run: this chapter follows its sliders at once"
PANELS: tuple[type[Panel], ...] = (
    ForwardPanel, StepPanel, FamilyPanel, InversionPanel, SchedulePanel, ProgressPanel, DenoisePanel, BoundPanel, RatePanel,
    LossPanel, VariancePanel, ScorePanel,
)  # fmt: skip


class LearnTab(RunTab):
    """The papers' formulas, with the numbers of the settings, computed by the model."""

    title, name, go = "Learn", "learn", "Run"
    headline = "Why few steps are enough, and what the formulas do with your numbers."
    sentence = "Five chapters, each with a question to guess first."
    contents: gr.HTML
    """The list of chapters in the column at the left; known once the page is laid out."""

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        self.open = gr.Textbox("forward", visible=False)
        """Name of the panel in sight; set in the browser, at once, since Run may be pressed before a handler has answered."""
        self.note = text.line("", "learn-note", live=True)
        self.panels: list[Panel] = []
        self.pictured: list[gr.HTML] = []
        """The line of each panel that says which picture it talks of."""
        with gr.Column(elem_id="chapters"):
            for chapter in chapters():
                with gr.Column(elem_id=f"learn-{chapter.slug}", elem_classes=["chapter"]):
                    self._lay(chapter)
            with gr.Accordion("Symbols", open=False, elem_id="symbols"):
                figures.formula(figures.words("symbols"))
        self.runnable = [panel for panel in self.panels if isinstance(panel, RunPanel)]
        own = [component for panel in self.panels for component in panel.inputs]
        self.inputs: list[Component] = [*self.settings.inputs, self.open, self.image, *own]
        self.more_fields = ("panel", "picture", *(field for panel in self.panels for field in panel.fields))
        self.outputs = [component for panel in self.runnable for component in panel.run_outputs]

    def _lay(self, chapter: Chapter) -> None:
        """The parts of one chapter."""
        head(chapter)
        if chapter.name == WORLD:
            world_card.build()
        else:
            kind = next(kind for kind in PANELS if kind.name == chapter.name)
            fields = self.settings.fields
            first = named_picture(kind.talks_of, picture.samples()[0], fields["model"].value, fields["seed"].value)
            about = text.line(first, f"of-{kind.name}")
            bound = [panel for panel in self.panels if isinstance(panel, BoundPanel)]
            panel = kind(*bound) if issubclass(kind, RatePanel | LossPanel) else kind()
            self.panels.append(panel)
            self.pictured.append(about)
            if isinstance(panel, RunPanel):
                button = gr.Button("Run", size="sm", elem_id=f"run-{panel.name}", elem_classes=["run-chapter"])
                self.also.append(button.click(None, None, self.open, js=f"() => '{panel.name}'", **PRIVATE))
            if isinstance(panel, ForwardPanel):
                self.image = picture.build()
        foot(chapter)

    def connect(self, demo: gr.Blocks) -> None:
        """What each chapter follows: its own sliders, and while it is in sight the settings. The browser asks for one at a time."""
        for panel in self.panels:
            changes = [component.change for component in panel.inputs]  # type: ignore[attr-defined]
            if changes and not isinstance(panel, RatePanel | LossPanel):
                gr.on(changes, None, None, None, js=f"() => {{ {HERE.format(self.name)} window.due('{panel.name}'); }}", **PRIVATE)
        changes = [field.change for field in self.settings.inputs]  # type: ignore[attr-defined]
        told = "(...values) => { window.lessonsStale?.(values); return []; }"
        gr.on(changes, None, self.settings.inputs, None, js=told, **PRIVATE)
        self.image.change(None, None, None, js=f"() => {{ {HERE.format(self.name)} window.due(window.chapter); }}", **PRIVATE)
        self.contents.props["begin"] = [field.value for field in self.settings.inputs]
        self.turned = self.contents.input(None, None, self.open, js="() => window.chapter", **PRIVATE)
        outputs = [self.note, *self.pictured, *(component for panel in self.panels for component in panel.outputs)]
        filled = self.contents.select(self.fill, self.inputs, outputs, trigger_mode="multiple", **PRIVATE)
        filled.then(None, None, None, js="() => window.filledOne()", **PRIVATE)

    def _scene(self, values: tuple[Any, ...]) -> LessonScene:
        """The scene that the settings' values and the picture make."""
        count = len(self.settings.inputs)
        image = values[count]
        assert isinstance(image, Image.Image)
        return scene(self.runs.engine, self.settings.named(values[:count]), image)

    def _filled(self, panel: Panel, shared: tuple[Any, ...], own: tuple[Any, ...]) -> list[Any]:
        """The note and the panel's outputs."""
        try:
            at = self._scene(shared)
            if panel.needs_model:
                at.need_model()
            without = f"{self.named_inputs['model'].label} {at.reason}. This chapter shows DDPM's linear schedule in its place."
            note = without if at.reason else ""
            return [note, *panel.show(at, *own)]
        except (FieldError, RuntimeError) as error:
            words = self.in_page_words(error) if isinstance(error, FieldError) else str(error)
            return [words, *[gr.skip() for _ in panel.outputs]]

    def fill(self, event: gr.EventData, *values: Any) -> list[Any]:
        """The panel that the browser names filled anew, the others left as they are."""
        panel, shared, own = self._parts(values, event_data(event).get("panel"))
        if panel is None:
            return [gr.skip()] * (1 + len(self.panels) + sum(len(each.outputs) for each in self.panels))
        note, *filled = self._filled(panel, shared, own)
        named, image = self.settings.named(shared[:-1]), shared[-1]
        said = named_picture(panel.talks_of, image, named["model"], named["seed"])
        pictured = [said if each is panel else gr.skip() for each in self.panels]
        return [
            note,
            *pictured,
            *(item for each in self.panels for item in (filled if each is panel else [gr.skip()] * len(each.outputs))),
        ]

    def _parts(self, values: tuple[Any, ...], name: object = None) -> tuple[Panel | None, tuple[Any, ...], tuple[Any, ...]]:
        """(panel, settings and picture, the panel's own values) of the tab's inputs: the named panel, or the open one."""
        count = len(self.settings.inputs)
        shared, rest = (*values[:count], values[count + 1]), values[count + 2 :]
        for panel in self.panels:
            if panel.name == (name or values[count]):
                return panel, shared, rest[: len(panel.inputs)]
            rest = rest[len(panel.inputs) :]
        return None, shared, ()

    def cost_line(self, *values: Any) -> str:
        return super().cost_line(*values) if isinstance(self._parts(values)[0], RunPanel) else ""

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[BaseRecipe, tuple[RunPanel, LessonScene]]:
        panel, shared, own = self._parts(values)
        if not isinstance(panel, RunPanel):
            raise FieldError("chapter", NO_RUN)
        at = self._scene(shared)
        return panel.recipe_of(at, *own), (panel, at)

    def anchor(self, chapter: Any) -> str:
        return f"#learn-{next((one.slug for one in chapters() if one.name == chapter), chapters()[0].slug)}"

    def board(self, plan: Any, about: tuple[RunPanel, LessonScene]) -> Any:
        panel, at = about
        return (*about, panel.board(plan, at))

    def before(self, recipe: BaseRecipe) -> list[Any]:
        return [KEEP] * len(self.outputs)

    def update(self, board: Any, plan: Any, frames: list[Any]) -> list[Any]:
        panel, _, kept = board
        return self._placed({panel: panel.update(kept, frames)})

    def last(self, board: Any, plan: Any, frames: list[Any], error: str | None) -> list[Any]:
        panel, at, kept = board
        filled = panel.update(kept, frames)
        if error:
            return self._placed({panel: filled})
        together = (BoundPanel, RatePanel, LossPanel)
        # One run has the numbers of all three.
        filling = [each for each in self.runnable if isinstance(each, together)] if isinstance(panel, together) else [panel]
        return self._placed({each: each.last(kept, at) for each in filling})

    def _placed(self, filled: dict[Any, list[Any]]) -> list[Any]:
        """The tab's outputs, those of other panels left as they are."""
        return [item for panel in self.runnable for item in filled.get(panel, [KEEP] * len(panel.run_outputs))]
