"""The Learn tab: a tour and eleven panels. Only the open one computes; those with a run share the page's Run button."""

from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image

from ddim_app.errors import FieldError
from ddim_app.runs.base import BaseRecipe
from ddim_app.ui import text
from ddim_app.ui.controls import Controls
from ddim_app.ui.fields import PRIVATE, on_any
from ddim_app.ui.learn import picture, tour
from ddim_app.ui.learn.bound_panels import BoundPanel, LossPanel, RatePanel
from ddim_app.ui.learn.chain_panels import DenoisePanel, ProgressPanel
from ddim_app.ui.learn.family_panel import FamilyPanel
from ddim_app.ui.learn.forward_panel import ForwardPanel
from ddim_app.ui.learn.panel import LessonScene, Panel, RunPanel, scene
from ddim_app.ui.learn.schedule_panel import SchedulePanel
from ddim_app.ui.learn.score_panel import ScorePanel
from ddim_app.ui.learn.step_panel import StepPanel
from ddim_app.ui.learn.variance_panel import VariancePanel
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import KEEP, RunTab

NO_RUN = "panel has nothing to run: it follows its sliders at once. Panels 5 to 9 and 11 have a run"


TOURED: tuple[type[Panel], ...] = (ForwardPanel, FamilyPanel, SchedulePanel, StepPanel, DenoisePanel, VariancePanel)


class LearnTab(RunTab):
    """The papers' formulas, with the numbers of the settings, computed by the model."""

    title, name, go = "Learn", "learn", "Run panel"

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        # Both are set in the browser, at once: Run may be pressed before a handler has answered.
        self.open = gr.Textbox("tour", visible=False)
        self.awake = gr.Checkbox(False, visible=False)
        self.image = picture.build()
        self.note = text.line("", "learn-note", live=True)
        self.panels: list[Panel] = []
        places: dict[str, gr.Tab] = {}
        with gr.Tabs(elem_id="panels") as self.tabs:
            with gr.Tab("Tour", id="tour") as places["tour"]:
                opens = tour.build({kind.name: kind.title.split(" ", 1)[1] for kind in TOURED})
            self._add(ForwardPanel, places)
            self._add(FamilyPanel, places)
            self._add(SchedulePanel, places)
            self._add(StepPanel, places)
            self._add(DenoisePanel, places)
            self._add(ProgressPanel, places)
            bound = self._add(BoundPanel, places)
            self._add(RatePanel, places, bound)
            self._add(LossPanel, places, bound)
            self._add(VariancePanel, places)
            self._add(ScorePanel, places)
        self.runnable = [panel for panel in self.panels if isinstance(panel, RunPanel)]
        own = [component for panel in self.panels for component in panel.inputs]
        self.inputs: list[Component] = [*settings.inputs, self.open, self.image, *own]
        self.more_fields = ("panel", "picture", *(field for panel in self.panels for field in panel.fields))
        self.outputs = [component for panel in self.runnable for component in panel.run_outputs]
        self._connect(places, opens)

    def _add(self, kind: type[Any], places: dict[str, gr.Tab], *given: Any) -> Any:
        with gr.Tab(kind.title, id=kind.name) as places[kind.name]:
            self.panels.append(kind(*given))
        return self.panels[-1]

    def _connect(self, places: dict[str, gr.Tab], opens: list[tuple[str, gr.Button]]) -> None:
        for name, place in places.items():
            place.select(None, None, self.open, js=f"() => '{name}'", **PRIVATE)
        places["tour"].select(lambda: "", None, self.note, **PRIVATE)
        shared = [*self.settings.inputs, self.image]
        for panel in self.panels:
            show = self._show_of(panel)
            inputs, outputs = [*shared, *panel.inputs], [self.note, *panel.outputs]
            changes = [component.change for component in panel.inputs]  # type: ignore[attr-defined]
            if not (isinstance(panel, RatePanel | LossPanel)):
                on_any([places[panel.name].select, *changes], show, inputs, outputs, at_once=True)
            else:
                places[panel.name].select(show, inputs, outputs, **PRIVATE)
        for name, button in opens:
            button.click(lambda name=name: gr.Tabs(selected=name), None, self.tabs, **PRIVATE)

    def connect(self, demo: gr.Blocks) -> None:
        """Everything outside the tab that its open panel depends on."""
        model = self.settings.fields["model"]
        changes = [field.change for field in self.settings.inputs if field is not model]  # type: ignore[attr-defined]
        outputs = [self.note, *(component for panel in self.panels for component in panel.outputs)]
        chosen = [model.change, self.image.change]  # type: ignore[attr-defined]
        for events, handler in ((chosen, self.refresh), (changes, self.follow)):
            on_any(events, handler, [self.awake, *self.inputs], outputs, at_once=True)
        places = self.place.parent.children if self.place.parent else []
        for place in (place for place in places if isinstance(place, gr.Tab)):
            is_mine = place is self.place
            event = place.select(None, None, self.awake, js=f"() => {str(is_mine).lower()}", **PRIVATE)
            if is_mine:
                event.then(self.refresh, [self.awake, *self.inputs], outputs, **PRIVATE)

    def _scene(self, values: tuple[Any, ...]) -> LessonScene:
        """The scene that the settings' values and the picture make."""
        count = len(self.settings.inputs)
        image = values[count]
        assert isinstance(image, Image.Image)
        return scene(self.runs.engine, self.settings.named(values[:count]), image)

    def _show_of(self, panel: Panel) -> Any:
        """The handler that fills one panel as it is opened or its own sliders move."""
        count = len(self.settings.inputs) + 1

        def show(*values: Any) -> list[Any]:
            return self._filled(panel, values[:count], values[count:])

        return show

    def _filled(self, panel: Panel, shared: tuple[Any, ...], own: tuple[Any, ...]) -> list[Any]:
        """The note and the panel's outputs."""
        try:
            at = self._scene(shared)
            if panel.needs_model:
                at.need_model()
            note = f"model {at.reason}. This panel shows DDPM's linear schedule in its place." if at.reason else ""
            return [note, *panel.show(at, *own)]
        except (FieldError, RuntimeError) as error:
            return [str(error), *[gr.skip() for _ in panel.outputs]]

    def follow(self, awake: bool, *values: Any) -> list[Any]:
        """The open panel after a change of settings other than the model."""
        outputs = [component for panel in self.panels for component in panel.outputs]
        fixed = {component for panel in self.panels for component in panel.fixed}
        note, *filled = self.refresh(awake, *values)
        return [note, *(gr.skip() if output in fixed else item for output, item in zip(outputs, filled, strict=True))]

    def refresh(self, awake: bool, *values: Any) -> list[Any]:
        """The open panel filled anew, the others left as they are."""
        panel, shared, own = self._parts(values)
        if not awake or panel is None:
            return [gr.skip(), *(gr.skip() for each in self.panels for _ in each.outputs)]
        note, *filled = self._filled(panel, shared, own)
        return [note, *(item for each in self.panels for item in (filled if each is panel else [gr.skip()] * len(each.outputs)))]

    def _parts(self, values: tuple[Any, ...]) -> tuple[Panel | None, tuple[Any, ...], tuple[Any, ...]]:
        """(open panel, settings and picture, the panel's own values) of the tab's inputs."""
        count = len(self.settings.inputs)
        shared, rest = (*values[:count], values[count + 1]), values[count + 2 :]
        for panel in self.panels:
            if panel.name == values[count]:
                return panel, shared, rest[: len(panel.inputs)]
            rest = rest[len(panel.inputs) :]
        return None, shared, ()

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[BaseRecipe, tuple[RunPanel, LessonScene]]:
        panel, shared, own = self._parts(values)
        if not isinstance(panel, RunPanel):
            raise FieldError("steps", NO_RUN)
        at = self._scene(shared)
        return panel.recipe_of(at, *own), (panel, at)

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
