"""The card of every way up: each method's round trip at the same steps, filled in the background."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import gradio as gr

from ddim_app.engine import Finished
from ddim_app.errors import FieldError
from ddim_app.runs.inversion import InversionArm, InvertRecipe
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.studies.inversion_table import arms, line
from ddim_app.ui.assets import component_files
from ddim_app.ui.dimming import Dimmed
from ddim_app.ui.hosting.gradio_patches import event_data
from ddim_app.ui.invert.verdict import advice, difference
from ddim_app.ui.run_tab import RunTab

WAYS = {
    "fixed-point": ("Fixed point", "x_T"),
    "o-belm": ("O-BELM", "two latents"),
    "stochastic-chain": ("DDPM noise, down the chain", "x_T, all step noise"),
    "stochastic": ("DDPM noise, independent", "x_T, all step noise"),
    "ddim-target": ("DDIM reversed, target’s t", "x_T"),
    "ddim-source": ("DDIM reversed, source’s t", "x_T"),
    "o-belm-single": ("O-BELM, one of its two latents", "one latent"),
    "sdedit": ("Noise and denoise (SDEdit)", "x_T"),
}
"""The methods in the order of the card: what they are called there, and what is kept of a picture."""
GROUPS = (("o-belm",), ("fixed-point",), ("stochastic-chain", "stochastic"), tuple(WAYS)[4:])
"""The methods in the order of interest; those of a group go up together."""
UNUSED = ("seed", "method", "task", "eta", "second_model", "decode_steps", "between", "methods", "curve steps")
"""Inputs of the tab that say nothing of the ways up."""
WAYS_SECONDS = 12
"""What is thought to take longer is not run unasked."""
MOST_KNOWN = 2000


def common(recipe: InvertRecipe) -> InversionArm:
    """What all ways share with the recipe's own: everything but the method, and DDIM on the way down."""
    return replace(recipe.arms[0], method="ddim-target", eta=0)


def key_of(recipe: InvertRecipe, arm: InversionArm, made_with: Sequence[str]) -> str:
    """Names one way of a recipe on weights of these hashes."""
    text = replace(recipe, arms=(arm,), self_interpolation=False, bucket=None).to_json()
    return hashlib.sha256("\n".join([text, *made_with]).encode()).hexdigest()


class WaysBoard:
    """The ways of one recipe: those that are known, and those that are still to be gone."""

    def __init__(self, recipe: InvertRecipe, made_with: Sequence[str], known: "KnownWays") -> None:
        self.recipe, self._known, self._made_with = recipe, known, tuple(made_with)
        self.arms: dict[str, InversionArm] = {}
        for method in WAYS:
            try:
                self.arms[method] = arms(common(recipe), [method], recipe.arms[0].steps)[0]
            except FieldError:  # O-BELM needs two steps
                continue

    @property
    def key(self) -> str:
        """The same for all ways of one picture with the same settings."""
        return key_of(self.recipe, common(self.recipe), self._made_with)

    def missing(self, but: str = "") -> list[InvertRecipe]:
        """What is still to be run, `but` one method, the most interesting first."""
        left = [method for method in self.arms if method != but and self._row(method) is None]
        groups = [[self.arms[method] for method in group if method in left] for group in GROUPS]
        return [replace(self.recipe, arms=tuple(group), self_interpolation=False) for group in groups if group]

    def add(self, arm: InversionArm, result: InversionResult) -> None:
        self._known.put(key_of(self.recipe, arm, self._made_with), row_of(arm, result))

    def value(self) -> dict[str, Any]:
        """What the page is told, whole each time."""
        own = self.recipe.arms[0]
        waiting = ({"method": method, "name": name, "kept": kept} for method, (name, kept) in WAYS.items() if method in self.arms)
        rows = [self._row(row["method"]) or row for row in waiting]
        return {"key": self.key, "steps": own.steps, "own": own.method, "rows": rows}

    def _row(self, method: str) -> dict[str, Any] | None:
        return self._known.get(key_of(self.recipe, self.arms[method], self._made_with))


def row_of(arm: InversionArm, result: InversionResult) -> dict[str, Any]:
    """A finished way as the page takes it: RMSE of 255 before and after rounding to 8 bits, the first on a log scale."""
    each, (name, kept) = line(arm, result), WAYS[arm.method]
    told = advice(arm, result) if arm.method == "o-belm" else None
    return {
        "method": arm.method, "name": name, "kept": kept, "evaluations": f"{each.nfe_up} + {each.nfe_down}",
        "rmse": 255 * each.mse**0.5, "shown": round(255 * each.mse_shown**0.5, 1), "std": round(each.latent_std, 2),
        "equal": not difference(result.original, result.back).pixels, **({"advice": told} if told else {}),
    }  # fmt: skip


class KnownWays:
    """Rows of finished ways, shared by all visitors; the least recently used go first."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def get(self, key: str) -> dict[str, Any] | None:
        if key in self._rows:
            self._rows.move_to_end(key)
        return self._rows.get(key)

    def put(self, key: str, row: dict[str, Any]) -> None:
        self._rows[key] = row
        while len(self._rows) > MOST_KNOWN:
            self._rows.popitem(last=False)


class Ways:
    """The card, and what fills it."""

    place = "ways"

    def __init__(self, tab: RunTab, stored: dict[str, Any]) -> None:
        self.tab, self.known = tab, KnownWays()
        self.card = gr.HTML(stored, **component_files("ways"), apply_default_css=False, elem_id="ways")

    def connect(self, *brought: Any) -> None:
        """Fills the card when its script asks for it, once the round trip above is drawn; `brought` are other pictures' events."""
        own = Dimmed(self.place, self.tab, UNUSED)
        own.connect(*brought)
        self.card.input(
            self.run, self.tab.inputs, self.card, show_progress="hidden", trigger_mode="multiple", api_visibility="private",
            concurrency_id="live", concurrency_limit=16, js=f"(...values) => {{ {own.asked} return values; }}",
        )  # fmt: skip

    def board(self, recipe: InvertRecipe) -> WaysBoard:
        """The ways of a recipe; raises FieldError where a model cannot be used."""
        return WaysBoard(recipe, [self.tab.runs.engine.model(name).sha256 for name in recipe.models], self.known)

    def _waits(self, seconds: float) -> bool:
        """Whether ways that take so long are not gone unasked."""
        return not self.tab.runs.fills_unasked or seconds > WAYS_SECONDS

    def evaluations(self, recipe: InvertRecipe) -> int:
        """Evaluations that are made in the background once the round trip is drawn."""
        engine = self.tab.runs.engine
        try:
            plans = [engine.plan(group) for group in self.board(recipe).missing(recipe.arms[0].method)]
        except FieldError:  # the host's budget: none is made
            return 0
        return 0 if self._waits(sum(engine.seconds(plan) or 0 for plan in plans)) else sum(plan.evaluations for plan in plans)

    async def run(self, request: gr.Request, event: gr.EventData, *values: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The ways of these settings, one after the other; or how long they would take."""
        engine = self.tab.runs.engine
        try:
            recipe, _ = await asyncio.to_thread(self.tab.recipe_of, values)
            if not isinstance(recipe, InvertRecipe):
                return
            board = await asyncio.to_thread(self.board, recipe)
            plans = [await asyncio.to_thread(engine.plan, missing) for missing in board.missing()]
        except FieldError:  # said on its field by the run above
            return
        seconds = sum(engine.seconds(plan) or 0 for plan in plans)
        waits = self._waits(seconds) or self.tab.runs.spent(request, *plans)
        if plans and waits and not event_data(event).get("asked"):
            yield board.value() | {"costly": seconds}
            return
        yield board.value()
        for plan in plans:
            ended = False
            async with aclosing(self.tab.runs.stream(plan, request, self.place, background=True)) as stream:
                async for news in stream:
                    ended = any(isinstance(item, Finished) for item in news)
                    results = [frame for item in news if isinstance(item, list) for frame in item]
                    for result in results:
                        if isinstance(result, InversionResult):
                            board.add(plan.recipe.arms[result.arm], result)
                            yield board.value()
            if not ended:  # a newer call fills this card; going on would end its run in turn
                return
