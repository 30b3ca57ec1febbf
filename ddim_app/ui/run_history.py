"""The last runs of every page, with bounded memory: recipe and pictures, for the list of runs, the texts to copy and the files."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ddim_app.media.images import Pixels, to_pixels
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.runs.codecs import StoppedRun
from ddim_app.runs.decoding import Decoded
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.runs.path_frames import FramesStep
from ddim_app.runs.sampling import Frame, SamplingPlan
from ddim_app.ui import text

MAX_RUNS = 12
MAX_RUN_BYTES = 4_000_000
"""Pixels that are kept of one run; of a larger one the first pictures of each arm are."""
MAX_PAGE_BYTES = 16_000_000
MAX_PAGES = 100
"""Pages whose runs are kept, the latest; those of a page that was closed are forgotten at once."""
MAX_LINE = 160
Drawn = Frame | FramesStep | InversionResult | Decoded
"""What the runs of the tabs tell of their pictures."""


@dataclass(frozen=True)
class PastRun:
    """A run that a page has made, or stopped."""

    number: int
    """Counts the page's runs from 1."""
    recipe: BaseRecipe
    line: str
    arms: tuple[tuple[str, Pixels], ...]
    """Label and pictures (N, H, W, C), 8-bit, of each arm."""
    stopped: StoppedRun | None = None

    live: bool = False
    """Whether a setting was only moved on its way to another."""
    tab: str = ""
    """The title of the tab that made it."""

    @property
    def size(self) -> int:
        return sum(pixels.nbytes for _, pixels in self.arms)


@dataclass
class RunHistory:
    """The last runs by page, newest first."""

    _pages: OrderedDict[str | None, deque[PastRun]] = field(default_factory=OrderedDict)
    _current: dict[str | None, dict[str, BaseRecipe]] = field(default_factory=dict)
    """By page, and by the titles of its tabs."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def runs(self, page: str | None) -> list[PastRun]:
        with self._lock:
            return list(self._pages.get(page, ()))

    def run(self, page: str | None, number: object) -> PastRun | None:
        return next((run for run in self.runs(page) if run.number == number), None)

    def current(self, page: str | None, tab: str) -> BaseRecipe | None:
        """The recipe that was last run or restored in the tab of that title."""
        return self._current.get(page, {}).get(tab)

    def choose(self, page: str | None, recipe: BaseRecipe, tab: str) -> None:
        with self._lock:
            self._current.setdefault(page, {})[tab] = recipe
            self._touch(page)

    def add(
        self, page: str | None, plan: Plan, newest: Mapping[int, Drawn], *, finished: bool, live: bool = False, tab: str = ""
    ) -> None:
        """Keeps a run by the newest frames of its arms: its pictures, or the predicted ones where it was stopped.

        A live run takes the place of the live one before it.
        """
        if not newest:  # of Learn, whose runs have numbers
            if finished:
                self.choose(page, plan.recipe, tab)
            return
        whole = finished and all(not isinstance(frame, Frame | FramesStep) or frame.is_last for frame in newest.values())
        stopped = None if whole else StoppedRun(max(frame.k for frame in newest.values()) + 1, plan.transitions)
        recipe = plan.recipe
        if not finished:
            models = plan.models if isinstance(plan, SamplingPlan) else (plan.model,)
            recipe = recipe.made({name: model.sha256 for name, model in zip(recipe.models, models, strict=False)})
        labels = [arm.label for arm in getattr(plan.recipe, "arms", ())]
        arms = [drawn for arm, frame in sorted(newest.items()) for drawn in _drawn(labels[arm] if arm < len(labels) else "", frame)]
        line = text.run_line(plan)
        line = line if len(line) <= MAX_LINE else f"{line[: MAX_LINE - 3]}..."
        self.choose(page, recipe, tab)
        with self._lock:
            kept = self._pages[page]
            number = kept[0].number + 1 if kept else 1
            if live and kept and kept[0].live:
                kept.popleft()
            kept.appendleft(PastRun(number, recipe, line, tuple(_cut(arms)), stopped, live, tab))
            while len(kept) > MAX_RUNS or sum(other.size for other in kept) > MAX_PAGE_BYTES:
                kept.pop()

    def forget(self, page: str | None) -> None:
        with self._lock:
            self._pages.pop(page, None)
            self._current.pop(page, None)

    def _touch(self, page: str | None) -> None:
        self._pages.setdefault(page, deque())
        self._pages.move_to_end(page)
        while len(self._pages) > MAX_PAGES:
            gone, _ = self._pages.popitem(last=False)
            self._current.pop(gone, None)


def _drawn(label: str, frame: Drawn) -> list[tuple[str, Pixels]]:
    """What an arm has drawn so far: pictures, or the predicted ones; of an inversion also what went in."""
    if isinstance(frame, InversionResult):
        return [("picture", to_pixels(frame.original)), (label, to_pixels(frame.back))]
    if isinstance(frame, Decoded):
        return [(label, to_pixels(frame.back))]
    last = frame.x if isinstance(frame, FramesStep) else frame.x_t
    return [(label, to_pixels(last if frame.is_last else frame.pred_x0))]


def _cut(arms: Iterable[tuple[str, Pixels]]) -> list[tuple[str, Pixels]]:
    """The first pictures of each arm that fit into what may be kept, at least one picture of as many first arms as fit."""
    arms = list(arms)
    one = arms[0][1][:1].nbytes
    arms = arms[: max(1, MAX_RUN_BYTES // one)]
    return [(label, pixels[: max(1, MAX_RUN_BYTES // (one * len(arms)))].copy()) for label, pixels in arms]
