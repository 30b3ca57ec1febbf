"""The stored sets of models other than the bundled one: found for pages, and made for them once, behind everybody's runs."""

import logging
import math
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import Any, NamedTuple

import gradio as gr
from filelock import Timeout

from ddim_app.engine import Engine
from ddim_app.errors import FieldError, RunError
from ddim_app.media.images import Pixels
from ddim_app.models.loading import Model
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies.set_cache import SetCache
from ddim_app.studies.stored_sets import SEED, STEPS, Extent, StoredSet, about, arm_key, drawn
from ddim_app.ui.assets import FOLDER
from ddim_app.ui.bundled import STORED, stored_set
from ddim_app.ui.hosting.visitors import PAGES

log = logging.getLogger(__name__)

FEW = "0", "1", "sigma-hat"
EXTENTS: tuple[dict[str, Any], ...] = ({}, {"keys": FEW}, {"keys": FEW, "pictures": 1})
"""What a set has, in the order in which they are thought of: the first that is neither too large nor takes too long is made."""
MOST_SECONDS, MOST_BYTES = 1800, 8_000_000
"""Seconds that a set's network calls may take on this machine, and bytes that its pictures may have."""
PIECE = 8000
"""Evaluations of a piece, which are made anew where it was not finished."""
TRIAL_STEPS = 10
"""Steps of the run that says what a model's network calls take: the first ones take longer."""
PAUSE = 8
"""Seconds before a set, and at most after a piece, for what waits until nobody uses the device: see `BackendChoice`."""
LINGER = 10
"""Seconds for which a page that was closed still counts: it may only be loaded anew."""


class _Shown(NamedTuple):
    """What a page shows, by its model's name and the key of its set."""

    model: str
    key: str
    until: float = math.inf


class ModelSets:
    """Sets on disk, at most `max_bytes` of them, none where that is 0; where it `makes` them, those that an open page lacks."""

    def __init__(self, engine: Engine, max_bytes: int = 0, makes: bool = False) -> None:
        self._engine, self._cache, self._makes = engine, SetCache(max_bytes), makes and max_bytes > 0
        self._pages: OrderedDict[str | None, _Shown] = OrderedDict()
        self._told: dict[str, dict[str, Any]] = {STORED: about(FOLDER / "stored", STORED) or {}}
        self._refused: set[str] = set()
        """Keys of sets that cannot be made."""
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def has(self, recipe: Recipe) -> bool:
        """Whether pages have the ladder of these settings from a stored set, and so ask for none: `laddered` in ladder.js."""
        about = self._told.get(recipe.model)
        if about is None:
            return False
        ddim, ddpm = recipe.arms[:2]
        steps, clip = ddim.steps, about["clip"]
        plain = Arm(steps=steps, eta=ddim.eta, clip=clip), Arm(method="ddpm", steps=steps, variance=ddpm.variance, clip=clip)
        usual = Recipe(arms=plain, model=about["model"], seed=about["seed"], pictures=recipe.pictures)
        if recipe not in (usual, replace(usual, precision="fp32")):
            return False
        return {arm_key(ddim), arm_key(ddpm)} <= {*about["arms"]}

    def find(self, recipe: Recipe) -> StoredSet | None:
        """The set that has these settings, if there is one."""
        if not self.has(recipe):
            return None
        sheet = self._told[recipe.model]["sheet"]
        is_bundled = sheet == self._told[STORED]["sheet"]
        return stored_set() if is_bundled else StoredSet.load(self._cache.folder, sheet.rpartition("-")[0])

    def asked(self, request: gr.Request, name: Any) -> Any:
        """The update of the ladder's card on a page that shows that model from now on; where its set is lacking, it is begun."""
        self.leave(request)
        bundled = self._told[STORED]
        if name == STORED or not self._cache.max_bytes or not isinstance(name, str) or not self._engine.is_here(name):
            return gr.skip()
        try:
            model = self._engine.model(name)
        except FieldError:  # the cost line says it
            return gr.skip()
        key = self._cache.key(model)
        told = bundled if model.sha256 == bundled["weights"] else self._cache.find(key)
        if told is not None:
            self._told[name] = {**told, "model": name}
            return gr.update(stored=self._told[name])
        self._told.pop(name, None)
        if self._makes and key not in self._refused:
            self._begin(request.session_hash, _Shown(name, key))
        return gr.skip()

    def leave(self, request: gr.Request) -> None:
        """Notes that a page was closed, or shows another model."""
        with self._guard:
            if shown := self._pages.get(request.session_hash):
                self._pages[request.session_hash] = shown._replace(until=min(shown.until, time.monotonic() + LINGER))

    def _begin(self, session: str | None, shown: _Shown) -> None:
        with self._guard:
            self._pages[session] = shown
            self._pages.move_to_end(session)
            while len(self._pages) > PAGES:
                self._pages.popitem(last=False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="stored-sets", daemon=True)
                self._thread.start()

    def _next(self) -> _Shown | None:
        """A page's model whose set is lacking; None, after which the thread ends, where there is none."""
        with self._guard:
            now = time.monotonic()
            self._pages = OrderedDict((session, shown) for session, shown in self._pages.items() if shown.until > now)
            shown = None if self._engine.closing else next(iter(self._pages.values()), None)
            if shown is None:
                self._thread = None
            return shown

    def _end(self, key: str) -> None:
        """Forgets the pages that lacked a set: it is made, or cannot be."""
        with self._guard:
            self._pages = OrderedDict((session, shown) for session, shown in self._pages.items() if shown.key != key)

    def _is_wanted(self, key: str) -> bool:
        with self._guard:
            now, pages = time.monotonic(), list(self._pages.values())
        return not self._engine.closing and any(shown.key == key and shown.until > now for shown in pages)

    def _work(self) -> None:
        while (shown := self._next()) is not None:
            try:
                time.sleep(PAUSE)
                if self._make(shown):
                    self._end(shown.key)
            except Timeout:  # another process makes it
                continue
            except Exception as error:  # whatever it is, the next model's set is made
                self._refused.add(shown.key)
                self._end(shown.key)
                known = isinstance(error, FieldError | RunError | OSError)
                log.warning("the stored set of %s is not made: %s", shown.model, error, exc_info=not known)

    def _make(self, shown: _Shown) -> bool:
        """Makes a set, of what is there of it already; False when nobody shows its model any more."""
        model = self._engine.model(shown.model)
        if self._cache.key(model) != shown.key:  # written anew since
            return True
        with self._cache.lock(shown.key):
            if self._cache.find(shown.key) is not None:
                return True
            if (extent := self._extent(model, shown.key)) is None:
                return False
            pieces = list[Pixels]()
            for recipe in extent.recipes(shown.model, PIECE):
                if (pixels := self._cache.piece(shown.key, recipe)) is None:
                    began = time.monotonic()
                    if (pixels := self._drawn(recipe, shown.key)) is None:
                        return False
                    self._cache.keep_piece(shown.key, recipe, pixels)
                    time.sleep(min(PAUSE, time.monotonic() - began))
                pieces.append(pixels)
            self._cache.keep(shown.key, extent.joined(pieces, model))
        log.info("the stored set of %s is made", shown.model)
        return True

    def _extent(self, model: Model, key: str) -> Extent | None:
        """What the set of a model has, of a set that is begun already the same; None when nobody shows the model any more.

        Raises RunError where even the least would be too large or take too long.
        """
        extents = [Extent.of(model, STEPS, **given) for given in EXTENTS]
        for extent in extents:
            if self._cache.piece(key, extent.recipes(model.name, PIECE)[0]) is not None:
                return extent
        steps = min(TRIAL_STEPS, model.schedule.num_train_timesteps)
        if self._drawn(Recipe(arms=(Arm(steps=steps),), model=model.name, seed=SEED, pictures=4, precision="fp32"), key) is None:
            return None
        room = min(MOST_BYTES, self._cache.max_bytes // 2)
        for extent in extents:
            if extent.size(model.shape) <= room and self._seconds(extent, model) <= MOST_SECONDS:
                return extent
        raise RunError("it would be too large for this host, or take too long")

    def _seconds(self, extent: Extent, model: Model) -> float:
        """What the calls of a set take on this machine; no end where this host allows none of its runs."""
        try:
            return sum(self._engine.seconds(self._engine.plan(recipe)) or 0 for recipe in extent.recipes(model.name, PIECE))
        except FieldError:
            return math.inf

    def _drawn(self, recipe: Recipe, key: str) -> Pixels | None:
        """The pictures of a run in the background; None, and no further call, when nobody shows the model any more."""
        handle = self._engine.run(recipe, background=True)
        for _ in handle:
            if not self._is_wanted(key):
                handle.stop()
                return None
        return drawn(handle.result)
