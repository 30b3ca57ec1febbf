"""The recipe below the tabs: copied in many forms, and brought back from a picture, a link or a run of before."""

from collections.abc import Callable, Collection
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.errors import FieldError
from ddim_app.runs import codecs, key_values
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.codecs import ReadRecipe
from ddim_app.runs.sampling import Recipe
from ddim_app.ui import links, text
from ddim_app.ui.compare.tab import CompareTab
from ddim_app.ui.components import download, history
from ddim_app.ui.controls import Controls
from ddim_app.ui.exact_run import ExactRun
from ddim_app.ui.fields import PRIVATE, only, pressed, raw
from ddim_app.ui.first_run import RECIPE
from ddim_app.ui.last_visit import remembered
from ddim_app.ui.learn import LearnTab
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.recipe_fields import field_values, shown_by
from ddim_app.ui.run_tab import RunTab
from ddim_app.ui.share_texts import FORMS, base_of, text_of

PARTS = ("all", "all but the seed")
MAX_PASTED = 200_000
"""Characters that the page takes."""
MAX_STAGE_ARMS = 8
OPEN = "window.openNow()"
"""JavaScript for what the open tab shows, and the page's address."""


class ShareButtons:
    """The buttons in the top bar, for the tab that is open."""

    def __init__(self) -> None:
        with gr.Row(elem_id="share"):
            self.link = gr.Button("Copy link", size="sm", min_width=40, elem_id="share-link")
            self.gif = only(gr.Button("GIF", size="sm", min_width=40, elem_id="share-gif"), "compare", "interpolate")
            self.python = gr.Button("Python", size="sm", min_width=40, elem_id="share-python")
            self.drop = gr.UploadButton("Drop a picture", size="sm", min_width=40, type="binary", elem_id="share-drop")
            self.file = download.place("share-file")


class RecipeBar:
    """The components below the tabs, and their events."""

    def __init__(self, runs: PageRuns, settings: Controls, tabs: list[RunTab], share: ShareButtons) -> None:
        self.runs, self.settings, self.tabs, self.share = runs, settings, tabs, share
        self._recipe = gr.State(None)
        self._pair = gr.State((None, None))
        self._here, self._text = raw(gr.Textbox(visible=False)), gr.Textbox(visible=False)
        with gr.Accordion("Recipe: copy, restore, files", open=False, elem_id="recipe-bar"), gr.Row():
            with gr.Column(min_width=300):
                self.form = raw(gr.Radio(list(FORMS), value="Link", label="Copy what the open tab shows as", elem_id="copy-as"))
                self.copy = gr.Textbox(
                    "", label="Copy", lines=3, max_lines=14, interactive=False, buttons=["copy"], elem_id="copied"
                )
                self.save = gr.Button("Pictures as a zip of PNG files", size="sm", elem_id="save-pictures")
                self.saved = download.place("pictures-saved")
            with gr.Column(min_width=300):
                self.use = raw(gr.Radio(list(PARTS), value=PARTS[0], label="Restore", elem_id="restore-what"))
                self.drop = gr.File(label="Drop a picture of this app", type="binary", height=120, elem_id="drop-picture")
                words: dict[str, Any] = {"label": "Or paste a link, or a recipe's JSON", "submit_btn": "Restore"}
                self.paste = raw(gr.Textbox("", max_lines=3, max_length=MAX_PASTED, elem_id="paste-recipe", **words))
                self.exact = gr.Button("Run it exactly", size="sm", visible=False, elem_id="run-exactly")
        self.note = text.line("", "restore-note", live=True)
        self.strip = history.component(RECIPE)
        self.exactly = ExactRun(runs, settings, next(tab for tab in tabs if isinstance(tab, CompareTab)), self._recipe)

    # What is shown.

    @property
    def outputs(self) -> list[Component]:
        """What `refresh` gives."""
        return [self.copy, self.strip]

    def follow(self, event: Any, unless: str = "") -> None:
        """Shows the last run once `event` is through; where the JavaScript `unless` throws, it does not.

        What comes while one answer is on its way is answered after it: else the copy would be of the setting before.
        """
        js = f"async (form, pair) => {{ {unless} return [form, pair, {OPEN}]; }}"
        shown = [self.form, self._pair, self._here]
        event.then(self.refresh, shown, self.outputs, js=js, trigger_mode="always_last", **PRIVATE)

    def tell(self, event: Any) -> None:
        """Shows what is to be copied once another tab, or part of one, is open after `event`."""
        js = f"form => [form, {OPEN}]"
        event.then(self._copied, [self.form, self._here], self.copy, js=js, trigger_mode="always_last", **PRIVATE)

    def start(self, status: gr.HTML, queued: dict[str, Any]) -> Any:
        """The event that runs a restored recipe as it is; returns what Stop has to cancel."""
        return self.exact.click(
            self.exactly.run, self.exactly.inputs, [status, *self.exactly.outputs], show_progress="hidden",
            js="recipe => { window.ran(recipe); return [recipe]; }",
            trigger_mode="multiple", api_visibility="private", **queued,
        )  # fmt: skip

    def connect(self, demo: gr.Blocks) -> None:
        copied = [self.form, self._here]
        gr.on([demo.load, self.form.change], self._copied, copied, self.copy, js=f"form => [form, {OPEN}]", **PRIVATE)
        for tab in self.tabs:
            if isinstance(tab, LearnTab):
                self.tell(tab.turned)
        restored = [*self._places, self.note, self._recipe, self.exact, self.copy]
        for drop in (self.drop, self.share.drop):
            js = f"(file, use, form) => [file, use, form, {OPEN}]"
            drop.upload(self._dropped, [drop, self.use, *copied], [*restored, drop], js=js, **PRIVATE)
        self.paste.submit(
            self._pasted, [self.paste, self.use, *copied], [*restored, self.paste],
            js=f"(words, use, form) => [words, use, form, {OPEN}]",
            **PRIVATE,
        )  # fmt: skip
        self.strip.select(
            self._picked, [self._pair, self.use, *copied, pressed()], [*restored, self.strip, self._pair],
            js=f"(pair, use, form) => [pair, use, form, {OPEN}, window.pastRun]",
            trigger_mode="always_last", **PRIVATE,
        )  # fmt: skip
        handed = self.save.click(self._zip, self._here, self.saved, js=f"() => [{OPEN}]", **PRIVATE | {"queue": True})
        handed.then(dict, None, self.saved, **PRIVATE)  # what was handed over is not kept for the session
        for button, form in ((self.share.link, "Link"), (self.share.python, "Python")):
            asked = button.click(self._copied, copied, self._text, js=f"() => ['{form}', {OPEN}]", **PRIVATE)
            asked.then(None, self._text, None, js="text => { window.copied(text); return []; }", **PRIVATE)
        self._connect_memory(demo, restored)

    def refresh(self, form: Any, pair: Any, here: Any, request: gr.Request) -> list[Any]:
        """Copy and strip after a run."""
        runs = self.runs.run_history.runs(request.session_hash)
        return [self._copied(form, here, request), history.value(runs, *_pair(pair))]

    def _copied(self, form: Any, here: Any, request: gr.Request) -> str:
        """What the open tab shows as a text: stored pictures, its last run, or what it opens with; of Learn, its chapter."""
        tab, here = self._open(here), here if isinstance(here, dict) else {}
        if form == "Link" and (anchor := tab.anchor(here.get("chapter"))):
            return base_of(here.get("address")) + anchor
        stored = tab.stored_recipe(here["stored"]) if here.get("stored") else None
        recipe = stored or self.runs.run_history.current(request.session_hash, tab.title) or tab.stored_recipe()
        if recipe is None:
            return f"# There is no run of {tab.title} yet: press Run there first."
        return text_of(self.runs.engine, recipe, form, here.get("address"))

    def _open(self, here: Any) -> RunTab:
        """The tab that is open, as the page's script says it."""
        name = here.get("tab") if isinstance(here, dict) else None
        return next((tab for tab in self.tabs if tab.name == name), self.tabs[0])

    # Restoring.

    @property
    def _places(self) -> list[Component]:
        """The inputs that a recipe can set: the settings, then each tab's own."""
        return list(dict.fromkeys([*self.settings.inputs, *(field for tab in self.tabs for field in tab.restored_to)]))

    def restored(self, read: ReadRecipe, use: Any, form: Any, here: Any, request: gr.Request, source: str) -> list[Any]:
        """Values of the places, what is said, the recipe to run as it is, its button, and the copy."""
        recipe = read.recipe
        runs_as_it_is = _is_for_the_stage(recipe)
        shown = shown_by(self.tabs, self.settings, recipe)
        tab = shown[0] if shown else self.exactly if runs_as_it_is else self._open(here)
        self.runs.run_history.choose(request.session_hash, recipe, tab.title)
        places, said = self._values(recipe, shown)
        if use == PARTS[1]:
            places = {field: value for field, value in places.items() if field is not self.settings.fields["seed"]}
        weights = codecs.other_weights(recipe, self._hashes(recipe))
        note = " ".join(words for words in (f"{source} {said}", *read.notes, weights) if words)
        copy = self._copied(form, here, request)
        return [
            *(places.get(field, gr.skip()) for field in self._places), note, recipe if runs_as_it_is else None,
            gr.update(visible=runs_as_it_is), copy,
        ]  # fmt: skip

    def _values(self, recipe: BaseRecipe, shown: tuple[RunTab, list[Any]] | None) -> tuple[dict[Component, Any], str]:
        """Values of places by what they are for, and a sentence on how far they say the recipe; `shown` as `shown_by` gives it."""
        if shown:
            tab, own = shown
            said = f"Its settings are in the fields of {tab.title}: press {tab.go} there."
            return dict(zip(tab.restored_to, own, strict=True)), said
        if not isinstance(recipe, Recipe):
            return {}, f"No tab of this page shows a recipe of the kind {recipe.kind}; it can be copied."
        fields, values = self.settings.fields, field_values(recipe, recipe.arms[0])
        arms = "one arm" if len(recipe.arms) == 1 else f"{len(recipe.arms)} arms"
        how = "Run it exactly draws it" if len(recipe.arms) <= MAX_STAGE_ARMS else "the command line draws it"
        said = f"It has {arms}, which the fields cannot say: they have the settings of the first, and {how}."
        return {fields[name]: value for name, value in values.items()}, said

    def _hashes(self, recipe: BaseRecipe) -> dict[str, Collection[str | None]]:
        """Hashes of those of its models that are here."""
        hashes: dict[str, Collection[str | None]] = {}
        for name in recipe.models:
            try:
                hashes |= {name: self.runs.engine.model(name).hashes} if self.runs.engine.is_here(name) else {}
            except FieldError:  # the run says it
                continue
        return hashes

    def _refused(self, error: FieldError) -> list[Any]:
        """The outputs of restoring when nothing could be restored."""
        return [*(gr.skip() for _ in self._places), f"Nothing restored: {error}.", gr.skip(), gr.skip(), gr.skip()]

    def _read(self, read: Callable[[], ReadRecipe], source: str, use: Any, form: Any, here: Any, request: gr.Request) -> list[Any]:
        try:
            return self.restored(read(), use, form, here, request, source)
        except FieldError as error:
            return self._refused(error)

    def _dropped(self, data: Any, use: Any, form: Any, here: Any, request: gr.Request) -> list[Any]:
        read = self._read(lambda: codecs.read_file(data or b""), "Recipe read from the file.", use, form, here, request)
        return [*read, None]

    def _pasted(self, words: Any, use: Any, form: Any, here: Any, request: gr.Request) -> list[Any]:
        words = words if isinstance(words, str) else ""
        return [*self._read(lambda: codecs.read_text(words), "Recipe read.", use, form, here, request), ""]

    def _picked(self, pair: Any, use: Any, form: Any, here: Any, asked: Any, request: gr.Request) -> list[Any]:
        run_history = self.runs.run_history
        if kept := history.kept_recipe(asked):
            read = self._read(lambda: codecs.read_json(kept), "Settings of a run of before.", use, form, here, request)
            return [*read, gr.skip(), gr.skip()]
        picked_run = history.picked(run_history, request.session_hash, asked)
        nothing = [gr.skip()] * (len(self._places) + 6)
        if picked_run is None:
            return nothing
        run, act = picked_run
        if act == "restore":
            source = f"Settings of run {run.number}."
            return [*self._read(lambda: ReadRecipe(run.recipe), source, use, form, here, request), gr.skip(), gr.skip()]
        a, b = _pair(pair)
        chosen = (run.number, b) if act == "a" else (a, run.number)
        return [*nothing[:-2], history.value(run_history.runs(request.session_hash), *chosen), chosen]

    # Files, and what outlives the page.

    def _zip(self, here: Any, request: gr.Request) -> dict[str, Any]:
        """The pictures of the open tab's last run as one file, or why there is none."""
        title = self._open(here).title
        run = next((run for run in self.runs.run_history.runs(request.session_hash) if run.tab == title), None)
        if run is None:
            return {"note": f"There are no pictures of a run of {title} yet: press Run there first."}
        return download.file(f"ddim-explorer-run-{run.number}.zip", "application/zip", history.pictures_zip(run))

    def _connect_memory(self, demo: gr.Blocks, restored: list[Component]) -> None:
        """The last settings come back on reload; a link's settings come before them."""
        memory = gr.BrowserState(None, storage_key="ddim-explorer-settings", secret="settings-are-no-secret")
        fields = self.settings.everyones
        names = ", ".join(fields)
        gr.on(
            [field.change for field in fields.values()], None, [*fields.values()], memory,  # type: ignore[attr-defined]
            js=f"({names}) => {{ const now = {{{names}}}; window.keepers.settings = () => now; return now; }}", **PRIVATE,
        )  # fmt: skip
        query, how = gr.Textbox(visible=False), gr.Textbox(visible=False)
        given = f"again ? '' : location.search.slice(1, {key_values.MAX_QUERY + 3}), memory, form, {OPEN}"
        again = "const again = window.kept('settings'); if (again) memory = {...again, again: true, recipe: window.kept('recipe')};"
        opened = demo.load(
            self._opened, [query, memory, self.form, self._here], [*restored, how],
            js=f"(query, memory, form) => {{ {again} window.opening = !again && location.search.length > 1; return [{given}]; }}",
            **PRIVATE,
        )  # fmt: skip
        opened.then(None, how, None, js="how => { window.linked(how); window.tellAgain(); return []; }", **PRIVATE)

    def _opened(self, query: Any, memory: Any, form: Any, here: Any, request: gr.Request) -> list[Any]:
        if isinstance(query, str) and key_values.is_recipe(query):
            try:
                read = codecs.read_query(query)
                restored = self.restored(read, PARTS[0], form, here, request, "Settings taken from the link.")
            except FieldError as error:
                return [*self._refused(error), ""]
            tab, _ = shown_by(self.tabs, self.settings, read.recipe) or (None, [])
            return [*restored, links.opening(self.runs, self.tabs, read.recipe, tab, _is_for_the_stage(read.recipe))]
        values = remembered(self.runs.engine, self.settings, memory)
        places = [values.get(field, gr.skip()) for field in self._places]
        if isinstance(memory, dict) and memory.get("again"):  # a reload, of which the page tells itself
            return [*places, gr.skip(), gr.skip(), gr.skip(), self._chosen_again(memory.get("recipe"), form, here, request), ""]
        return [*places, "Settings of your last visit." if values else gr.skip(), gr.skip(), gr.skip(), gr.skip(), ""]

    def _chosen_again(self, recipe: Any, form: Any, here: Any, request: gr.Request) -> Any:
        """The copy of what a reloaded page shows; in Compare the run of before is the current one again."""
        try:
            recipe = codecs.read_json(recipe if isinstance(recipe, str) else "").recipe
            self.runs.run_history.choose(request.session_hash, recipe, CompareTab.title)
        except FieldError:
            return gr.skip()
        return self._copied(form, here, request)


def _is_for_the_stage(recipe: BaseRecipe) -> bool:
    """Whether Compare can run it as it is."""
    return isinstance(recipe, Recipe) and len(recipe.arms) <= MAX_STAGE_ARMS


def _pair(value: Any) -> tuple[int | None, int | None]:
    a, b = value if isinstance(value, tuple | list) and len(value) == 2 else (None, None)
    return a, b
