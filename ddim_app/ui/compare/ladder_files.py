"""The ladder that the page shows as files: a labelled sheet with its distances, and a line for each cell."""

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ddim_app.errors import FieldError, choice, whole
from ddim_app.media.animation import captioned, labelled_sheet, plain, sheet_bytes
from ddim_app.media.images import Pixels, enlargement, to_pil
from ddim_app.runs.sampling import Recipe
from ddim_app.studies.stored_sets import SEED
from ddim_app.ui.compare.ladder import Ladder, LadderRow, stored_rows
from ddim_app.ui.components import download
from ddim_app.ui.fields import PRIVATE, pressed

MIMES = {"png": "image/png", "csv": "text/csv"}


class LadderFile(NamedTuple):
    """A ladder of which every picture is there."""

    recipe: Recipe
    """Of one picture, with the settings of the rows."""
    hashes: Mapping[str, str | None]
    """Of its models' weights, by their names."""
    rows: list[tuple[LadderRow, Pixels]]
    """Each with the picture that it is measured to."""
    reference: int
    """Steps of those."""
    has_all_steps: bool
    """Whether those are all that the model has."""

    def png(self) -> bytes:
        """Arms down, steps across, the distance under each picture; the recipe of all cells is inside."""
        first = self.rows[0][0]
        _, height, width, _ = first.pixels[first.columns[0]].shape
        scale = enlargement(height, width, at_least=96)
        cells = [
            [captioned(to_pil(row.pixels[steps][0]), words, scale) for steps, words in zip(row.columns, said, strict=True)]
            for row, said in zip((row for row, _ in self.rows), self._captions(), strict=True)
        ]
        title = f"{self.recipe.model} · seed {self.recipe.seed} · RMSE of 255 to the row's reference, {self.reference} steps"
        names = [row.arm.label + (f", to {row.arm.limit.label}" if self._is_of_another(row) else "") for row, _ in self.rows]
        arms = [replace(row.arm, steps=steps, timesteps=None) for row, _ in self.rows for steps in row.columns]
        sheet = labelled_sheet(cells, names, [f"{steps} steps" for steps in first.columns], title=title)
        return sheet_bytes(sheet, self.recipe.with_arms(*arms).made(self.hashes).to_json())

    def csv(self) -> bytes:
        """A line for each cell, in plain letters."""
        lines: list[tuple[Any, ...]] = [("arm", "steps", "RMSE of 255", "worst 4 x 4 patch", "reference")]
        for row, picture in self.rows:
            reference = f"{row.arm.limit.label if self._is_of_another(row) else row.arm.label}, {self.reference} steps"
            for steps in row.columns:
                apart = (round(value, 3) for value in row.apart(steps, picture))
                lines.append((plain(row.arm.label), steps, *apart, plain(reference)))
        out = io.StringIO()
        csv.writer(out).writerows(lines)
        return out.getvalue().encode()

    def _captions(self) -> list[list[str]]:
        """What stands under the pictures of each row, as on the page."""
        captions = []
        for row, picture in self.rows:
            value, is_own = row.value(picture, self.has_all_steps), not self._is_of_another(row)
            words = [f"{cell['rmse']:.1f}" + ", within 5" * (value["within"] == i) for i, cell in enumerate(value["cells"])]
            captions.append([*words[:-1], "reference" if is_own and row.columns[-1] == self.reference else words[-1]])
        return captions

    @staticmethod
    def _is_of_another(row: LadderRow) -> bool:
        """Whether it is measured to another arm's picture."""
        return bool(row.arm.limit != row.arm)


class LadderFiles:
    """What answers the card's buttons: a file, made of what is stored or known when one is pressed."""

    def __init__(self, ladder: Ladder) -> None:
        self._ladder = ladder
        saved = download.place("ladder-saved")
        js = "(...values) => [...values.slice(0, -1), window.ladderShown()]"
        asked = ladder.card.select(self._file, [*ladder.tab.inputs, pressed()], saved, js=js, **PRIVATE | {"queue": True})
        asked.then(dict, None, saved, **PRIVATE)  # what was handed over is not kept for the session

    def _file(self, *given: Any) -> dict[str, Any]:
        """The file of what the page shows, which is of its fields' settings unless it says otherwise; or why there is none."""
        *values, shown = given
        shown = shown if isinstance(shown, dict) else {}
        if shown.get("stale"):
            return {"note": "The ladder is of the settings before: let it fill first."}
        try:
            form = choice("form", shown.get("form"), tuple(MIMES))
            made = self._made(tuple(values), shown)
        except FieldError as error:
            return {"note": self._ladder.tab.in_page_words(error)}
        if made is None:
            return {"note": "The ladder is not whole: let it fill first."}
        return download.file(f"ddim-explorer-ladder-{made.recipe.seed}.{form}", MIMES[form], getattr(made, form)())

    def _made(self, values: tuple[Any, ...], shown: dict[str, Any]) -> LadderFile | None:
        """The ladder of these settings, None where some of it would still have to be drawn; raises FieldError."""
        recipe, _ = self._ladder.tab.recipe_of(values)
        if stored := self._ladder.sets.find(recipe):
            seed = whole("seed", shown.get("seed"), SEED, SEED + stored.pixels.shape[2] - 1)
            one = replace(recipe, seed=seed, pictures=1, precision="fp32")
            return LadderFile(one, {recipe.model: stored.weights}, stored_rows(stored, seed, recipe.arms), stored.columns[-1], True)
        live, planned, _ = self._ladder.of(recipe, whole("picture", shown.get("picture", 0), 0, 15))
        if planned is not None:
            return None
        rows = [(row, picture) for row, picture in live.measured if picture is not None]
        hashes = {name: self._ladder.tab.runs.engine.model(name).sha256 for name in recipe.models}
        return LadderFile(live.one, hashes, rows, live.columns[-1], False)
