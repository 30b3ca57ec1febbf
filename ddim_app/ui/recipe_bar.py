"""The recipe below the tabs: copied in many forms, and brought back from a picture, a link or a run of before."""

from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.errors import FieldError
from ddim_app.media.images import to_pil
from ddim_app.runs import codecs, key_values
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.codecs import MAX_STEPS, ReadRecipe
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.tables import table_of
from ddim_app.ui import text
from ddim_app.ui.compare.tab import CompareTab
from ddim_app.ui.components import history
from ddim_app.ui.controls import Controls
from ddim_app.ui.exact_run import ExactRun
from ddim_app.ui.fields import PRIVATE, raw
from ddim_app.ui.first_run import RECIPE
from ddim_app.ui.matrix.tab import MatrixTab
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import RunTab
from ddim_app.ui.served_files import keep
from ddim_app.ui.share_texts import FORMS, text_of

PARTS = ("all", "all but the seed")
MAX_PASTED = 200_000
"""Characters that the page takes."""
MAX_FILES = 32
"""Pictures of a run that are offered as files of their own."""
MAX_STAGE_ARMS = 8
ADDRESS = "location.origin + location.pathname"
"""Where the page stands, as its browser knows it: on another host, on a Space, or behind a sub-path."""


class RecipeBar:
    """The components below the tabs, and their events."""

    def __init__(self, runs: PageRuns, settings: Controls, tabs: list[RunTab]) -> None:
        self.runs, self.settings, self.tabs = runs, settings, tabs
        self._recipe = gr.State(None)
        self._pair = gr.State((None, None))
        self._address = gr.Textbox(visible=False)
        with gr.Accordion("Recipe: copy, restore, files", open=False, elem_id="recipe-bar"), gr.Row():
            with gr.Column(min_width=300):
                self.form = raw(gr.Radio(list(FORMS), value="Link", label="Copy the last run as", elem_id="copy-as"))
                self.copy = gr.Textbox(
                    "", label="Copy", lines=3, max_lines=14, interactive=False, buttons=["copy"], elem_id="copied"
                )
                self.save = gr.Button("Pictures as PNG files", size="sm", elem_id="save-pictures")
                self.files = gr.Files(label="Each carries its recipe", interactive=False, visible=False, elem_id="pictures-saved")
            with gr.Column(min_width=300):
                self.use = raw(gr.Radio(list(PARTS), value=PARTS[0], label="Restore", elem_id="restore-what"))
                self.drop = gr.File(label="Drop a picture of this app", type="binary", height=120, elem_id="drop-picture")
                words: dict[str, Any] = {"label": "Or paste a link, or a recipe's JSON", "submit_btn": "Restore"}
                self.paste = raw(gr.Textbox("", max_lines=3, max_length=MAX_PASTED, elem_id="paste-recipe", **words))
                self.exact = gr.Button("Run it exactly", size="sm", visible=False, elem_id="run-exactly")
        self.note = text.line("", "restore-note", live=True)
        self.strip = history.component()
        self.exactly = ExactRun(runs, settings, next(tab for tab in tabs if isinstance(tab, CompareTab)), self._recipe)

    # What is shown.

    @property
    def outputs(self) -> list[Component]:
        """What `refresh` gives."""
        return [self.copy, self.strip, self.files]

    def follow(self, event: Any) -> None:
        """Shows the last run once `event` is through."""
        event.then(
            self.refresh,
            [self.form, self._pair, self._address],
            self.outputs,
            js=f"(form, pair) => [form, pair, {ADDRESS}]",
            **PRIVATE,
        )

    def start(self, status: gr.HTML, queued: dict[str, Any]) -> Any:
        """The event that runs a restored recipe as it is; returns what Stop has to cancel."""
        return self.exact.click(
            self.exactly.run, self.exactly.inputs, [status, *self.exactly.outputs], show_progress="hidden",
            trigger_mode="multiple", api_visibility="private", **queued,
        )  # fmt: skip

    def connect(self, demo: gr.Blocks) -> None:
        copied = [self.form, self._address]
        where = f"form => [form, {ADDRESS}]"
        gr.on([demo.load, self.form.change], self._copied, copied, self.copy, js=where, **PRIVATE)
        restored = [*self._places, self.note, self._recipe, self.exact, self.copy]
        self.drop.upload(
            self._dropped, [self.drop, self.use, *copied], [*restored, self.drop],
            js=f"(file, use, form) => [file, use, form, {ADDRESS}]",
            **PRIVATE,
        )  # fmt: skip
        self.paste.submit(
            self._pasted, [self.paste, self.use, *copied], [*restored, self.paste],
            js=f"(words, use, form) => [words, use, form, {ADDRESS}]",
            **PRIVATE,
        )  # fmt: skip
        self.strip.select(
            self._picked, [self._pair, self.use, *copied], [*restored, self.strip, self._pair],
            js=f"(pair, use, form) => [pair, use, form, {ADDRESS}]",
            **PRIVATE,
        )  # fmt: skip
        self.save.click(self._files, None, self.files, **PRIVATE)
        self._connect_memory(demo, restored)

    def refresh(self, form: Any, pair: Any, address: Any, request: gr.Request) -> list[Any]:
        """Copy, strip and files after a run."""
        runs = self.runs.run_history.runs(request.session_hash)
        return [self._copied(form, address, request), history.value(runs, *_pair(pair)), gr.update(visible=False, value=None)]

    def _copied(self, form: Any, address: Any, request: gr.Request) -> str:
        recipe = self.runs.run_history.current(request.session_hash) or RECIPE
        return text_of(self.runs.engine, recipe, form, address)

    # Restoring.

    @property
    def _places(self) -> list[Component]:
        """The inputs that a recipe can set: the settings, then each tab's own."""
        own = [field for tab in self.tabs for field in tab.inputs if field not in self.settings.inputs]
        return [*self.settings.inputs, *own]

    def restored(self, read: ReadRecipe, use: Any, form: Any, address: Any, request: gr.Request, source: str) -> list[Any]:
        """Values of the places, what is said, the recipe to run as it is, its button, and the copy."""
        recipe = read.recipe
        self.runs.run_history.choose(request.session_hash, recipe)
        places, said = self._values(recipe)
        if use == PARTS[1]:
            places = {field: value for field, value in places.items() if field is not self.settings.fields["seed"]}
        runs_as_it_is = isinstance(recipe, Recipe) and len(recipe.arms) <= MAX_STAGE_ARMS
        weights = codecs.other_weights(recipe, self._hashes(recipe))
        note = " ".join(words for words in (f"{source} {said}", *read.notes, weights) if words)
        copy = self._copied(form, address, request)
        return [
            *(places.get(field, gr.skip()) for field in self._places), note, recipe if runs_as_it_is else None,
            gr.update(visible=runs_as_it_is), copy,
        ]  # fmt: skip

    def _values(self, recipe: BaseRecipe) -> tuple[dict[Component, Any], str]:
        """Values of places by what they are for, and a sentence on how far they say the recipe."""
        for tab in self.tabs:
            own = self._matrix(recipe) if isinstance(tab, MatrixTab) else tab.values_of(recipe)
            if own is not None:
                return dict(
                    zip(tab.inputs, own, strict=True)
                ), f"Its settings are in the fields of {tab.title}: press {tab.go} there."
        if not isinstance(recipe, Recipe):
            return {}, f"No tab of this page shows a recipe of the kind {recipe.kind}; it can be copied."
        fields, values = self.settings.fields, self._fields(recipe, recipe.arms[0])
        arms = "one arm" if len(recipe.arms) == 1 else f"{len(recipe.arms)} arms"
        how = "Run it exactly draws it" if len(recipe.arms) <= MAX_STAGE_ARMS else "the command line draws it"
        said = f"It has {arms}, which the fields cannot say: they have the settings of the first, and {how}."
        return {fields[name]: value for name, value in values.items()}, said

    def _fields(self, recipe: Recipe, arm: Arm) -> dict[str, Any]:
        """The settings column for one arm of a recipe."""
        shared = {name: getattr(recipe, name) for name in ("model", "seed", "pictures", "precision", "branch")}
        its = {name: getattr(arm, name) for name in ("steps", "eta", "spacing", "variance", "clip")}
        noise_seed = "" if recipe.noise_seed is None else str(recipe.noise_seed)
        return {**shared, **its, "ddpm_steps": 0, "second_model": "", "noise_seed": noise_seed}

    def _matrix(self, recipe: BaseRecipe) -> list[Any] | None:
        """What the matrix' inputs have to be for a recipe whose arms fill one."""
        table = table_of(recipe.arms, MAX_STEPS) if isinstance(recipe, Recipe) else None
        if table is None or not isinstance(recipe, Recipe):
            return None
        values = self._fields(recipe, table.base)
        return [*(values[name] for name in self.settings.fields), *table.rows, *table.columns]

    def _hashes(self, recipe: BaseRecipe) -> dict[str, str]:
        """sha256 of those of its models that are here."""
        hashes: dict[str, str] = {}
        for name in recipe.models:
            try:
                hashes |= {name: self.runs.engine.model(name).sha256} if self.runs.engine.is_here(name) else {}
            except FieldError:  # the run says it
                continue
        return hashes

    def _refused(self, error: FieldError) -> list[Any]:
        """The outputs of restoring when nothing could be restored."""
        return [*(gr.skip() for _ in self._places), f"Nothing restored: {error}.", gr.skip(), gr.skip(), gr.skip()]

    def _read(
        self, read: Callable[[], ReadRecipe], source: str, use: Any, form: Any, address: Any, request: gr.Request
    ) -> list[Any]:
        try:
            return self.restored(read(), use, form, address, request, source)
        except FieldError as error:
            return self._refused(error)

    def _dropped(self, data: Any, use: Any, form: Any, address: Any, request: gr.Request) -> list[Any]:
        read = self._read(lambda: codecs.read_file(data or b""), "Recipe read from the file.", use, form, address, request)
        return [*read, None]

    def _pasted(self, words: Any, use: Any, form: Any, address: Any, request: gr.Request) -> list[Any]:
        words = words if isinstance(words, str) else ""
        return [*self._read(lambda: codecs.read_text(words), "Recipe read.", use, form, address, request), ""]

    def _picked(self, pair: Any, use: Any, form: Any, address: Any, request: gr.Request, event: gr.EventData) -> list[Any]:
        run_history = self.runs.run_history
        picked_run = history.picked(run_history, request.session_hash, event)
        nothing = [gr.skip()] * (len(self._places) + 6)
        if picked_run is None:
            return nothing
        run, act = picked_run
        if act == "restore":
            source = f"Settings of run {run.number}."
            return [*self._read(lambda: ReadRecipe(run.recipe), source, use, form, address, request), gr.skip(), gr.skip()]
        a, b = _pair(pair)
        chosen = (run.number, b) if act == "a" else (a, run.number)
        return [*nothing[:-2], history.value(run_history.runs(request.session_hash), *chosen), chosen]

    # Files, and what outlives the page.

    def _files(self, request: gr.Request) -> Any:
        """The pictures of the page's current run as files that carry its recipe."""
        runs = self.runs.run_history.runs(request.session_hash)
        if not runs:
            raise gr.Error("There is no run of yours yet: press Run first.", print_exception=False)
        run = runs[0]
        pictures = history.file_names(run)[:MAX_FILES]
        paths = [keep(codecs.png(to_pil(pixels), run.recipe, run.stopped), name) for name, pixels in pictures]
        return gr.update(value=paths, visible=True)

    def _connect_memory(self, demo: gr.Blocks, restored: list[Component]) -> None:
        """The last settings come back on reload; a link's settings come before them."""
        memory = gr.BrowserState(None, storage_key="ddim-explorer-settings", secret="settings-are-no-secret")
        fields = self.settings.fields
        names = ", ".join(fields)
        gr.on(
            [field.change for field in fields.values()], None, [*fields.values()], memory,  # type: ignore[attr-defined]
            js=f"({names}) => ({{{names}}})", **PRIVATE,
        )  # fmt: skip
        query = gr.Textbox(visible=False)
        demo.load(
            self._opened, [query, memory, self.form, self._address], restored,
            js=f"(query, memory, form) => [location.search.slice(1, {key_values.MAX_QUERY + 3}), memory, form, {ADDRESS}]",
            **PRIVATE,
        )  # fmt: skip

    def _opened(self, query: Any, memory: Any, form: Any, address: Any, request: gr.Request) -> list[Any]:
        if isinstance(query, str) and key_values.is_recipe(query):
            return self._read(lambda: codecs.read_query(query), "Settings taken from the link.", PARTS[0], form, address, request)
        values = self._remembered(memory)
        places = [values.get(name, gr.skip()) for name in self.settings.fields]
        rest = [gr.skip()] * (len(self._places) - len(places))
        return [*places, *rest, "Settings of your last visit." if values else gr.skip(), gr.skip(), gr.skip(), gr.skip()]

    def _remembered(self, memory: Any) -> dict[str, Any]:
        """The settings of the last visit, as far as they are settings: the browser's store is anybody's."""
        names = self.settings.fields.keys()
        if not isinstance(memory, dict) or not names <= memory.keys():
            return {}
        try:
            recipe = codecs.checked({name: memory[name] for name in names})
        except FieldError:
            return {}
        engine = self.runs.engine
        if not engine.is_here(recipe.model) and not engine.catalogue.is_on_hub(recipe.model):
            return {}
        return codecs.compare_values(recipe) or {}


def _pair(value: Any) -> tuple[int | None, int | None]:
    a, b = value if isinstance(value, tuple | list) and len(value) == 2 else (None, None)
    return a, b
