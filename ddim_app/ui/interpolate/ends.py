"""The cards of the ends: seeds, and files in the place of seeds, each with a name and a picture."""

import hashlib
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.engine import Engine
from ddim_app.errors import FieldError, choice, shown
from ddim_app.media.images import data_uri, to_pil, to_pixels
from ddim_app.runs import forms
from ddim_app.runs.forms import ALL_MODES
from ddim_app.runs.interpolation import ENDS
from ddim_app.runs.inversion import InvertRecipe
from ddim_app.runs.latent_files import load
from ddim_app.runs.sources import Source
from ddim_app.ui.fields import PRIVATE, raw, told_files

LIMITS = {**ENDS, "mix": (2, 2)}
"""How many ends each mode has, at least and at most."""
MAX_CARDS = 24
Files = dict[str, bytes]
"""The files behind cards, by the `file` of each."""


class EndCards:
    """The cards, the files behind them, and what brings a new one.

    A card is {"seed": 7} or {"file": id, "name", "about", "thumb"}.
    """

    def __init__(self, engine: Engine, model: Component, seeds: list[int]) -> None:
        self._engine = engine
        cards = {"ends": [{"seed": seed} for seed in seeds]}
        files = told_files("ends", LIMITS, "make", "icon")
        self.cards = raw(gr.HTML(cards, **files, apply_default_css=False, elem_id="ends"))
        self.files = gr.State({})
        with gr.Column(elem_id="ends-upload"):  # out of sight: the cards' script opens it
            upload = gr.UploadButton("A picture or latent file", type="binary")
        at = gr.Number(0, visible=False)
        self.uploaded = upload.upload(
            self._uploaded, [upload, self.cards, self.files, model, at], [self.cards, self.files],
            js="(...given) => [...given.slice(0, -1), window.endAsked ?? 0]", **PRIVATE,
        )  # fmt: skip

    def _uploaded(self, data: Any, cards: Any, files: Files, model: Any, at: Any) -> list[Any]:
        try:
            return with_file(self._engine, data, cards, files, model, at)
        except FieldError as error:
            return [{**_value(cards), "said": str(error)}, files]


def with_file(engine: Engine, data: Any, cards: Any, files: Files, model: Any, at: Any = 0) -> list[Any]:
    """Values of cards and files with a file's end in that place, or the seed that it names; raises FieldError."""
    if not isinstance(model, str) or not engine.is_here(model):
        raise FieldError("model", "must be here already: run the model once with seeds, then add the file")
    ends = _cards(cards)
    given = forms.read_end(data or b"", engine.model(model).shape)
    source = given.ends[0]
    name = hashlib.sha256(data).hexdigest()[:16]
    made = {"seed": source.seed} if source.seed is not None else {"file": name, **_look(data, source, len(given.ends))}
    place = at if isinstance(at, int) and 0 <= at < len(ends) else 0
    ends[place : place + 1] = [made]
    known = {**files, name: data}
    return [{"ends": ends}, {key: known[key] for key in (card.get("file") for card in ends) if key in known}]


def values_of(cards: Any, files: Files, mode: Any) -> tuple[dict[str, Any], list[bytes | None]]:
    """What forms.interpolation takes of the cards that a mode uses: its fields, and the files; raises FieldError."""
    most = LIMITS[choice("mode", mode, ALL_MODES)][1]
    chosen = _cards(cards)[:most]
    given = [files.get(str(card["file"])) if "file" in card else None for card in chosen]
    seeds = ", ".join("0" if data else str(card.get("seed")) for card, data in zip(chosen, given, strict=True))
    return {"seeds": seeds, **({"frames": len(chosen)} if mode == "variation" else {})}, given


def _value(cards: Any) -> dict[str, Any]:
    return cards if isinstance(cards, dict) else {}


def _cards(cards: Any) -> list[dict[str, Any]]:
    ends = _value(cards).get("ends")
    if not isinstance(ends, list) or len(ends) > MAX_CARDS or not all(isinstance(card, dict) for card in ends):
        raise FieldError("seeds", f"must be a list of at most {MAX_CARDS} ends; got {shown(ends)}")
    return list(ends)


def _look(data: bytes, source: Source, count: int) -> dict[str, str]:
    """What a file's card says: its name, to which the letter of its place comes, what it is of, and a picture.

    Of an inverted picture that picture is shown, of another latent its noise.
    """
    if source.png is not None:
        return {"name": "Picture", "about": "", "thumb": f"data:image/png;base64,{source.png}"}
    latent = load(data)
    start = latent.recipe.sources[0] if isinstance(latent.recipe, InvertRecipe) else None
    origin = "" if start is None else "of a picture, " if start.seed is None else f"of seed {start.seed}, "
    about = f"{origin}{len(latent.timesteps)} steps"
    if start is not None and start.png is not None:
        thumb = f"data:image/png;base64,{start.png}"
    else:
        thumb = data_uri(to_pil(to_pixels(latent.x[:1].float())[0]))
    return {"name": "Latent" if count == 1 else f"{count} latents", "about": about, "thumb": thumb}
