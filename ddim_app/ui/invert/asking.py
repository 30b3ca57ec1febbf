"""What an event that asks for a run sets before it: which picture goes up, and how it comes down."""

import uuid
from typing import Any

import gradio as gr

from ddim_app.errors import FieldError
from ddim_app.media.images import data_uri, png_bytes
from ddim_app.runs.sources import MIDDLE
from ddim_app.ui.hosting.gradio_patches import event_data
from ddim_app.ui.invert.reading import OWN
from ddim_app.ui.invert.samples import SAMPLES, sample_png
from ddim_app.ui.run_tab import KEEP
from ddim_app.ui.uploads import opened

ASKED = ("picture", "upload", "crop", "crop_view", "pictures", "task", "goes", "eta", "second_model", "steps", "method", "said")
"""The names of the outputs of such an event; `goes` says whether the run may go on."""
UPWARD = {"task": "invert", "eta": 0, "second_model": "", "goes": True}
"""What is set when a picture is to go up: it comes down by DDIM, and by the same model."""
HIDDEN: dict[str, Any] = {"picture": None}
"""The crop's value where there is none."""
SHOWN_SIDE = 480
Size = tuple[int, int] | None


def asked(**values: Any) -> list[Any]:
    """The outputs of an event that asks for a run: what it sets, and the rest as it is."""
    return [values.get(name, KEEP) for name in ASKED]


def chosen(name: Any, upload: Any, size: Size) -> list[Any]:
    """The picture that was pressed: a sample, the model's own, or the visitor's once more."""
    view = HIDDEN
    if isinstance(name, str) and name in SAMPLES:
        picture: dict[str, Any] = {"name": name, "file": sample_png(name)}
    elif name == "own":
        picture = OWN
    elif name == "upload" and isinstance(upload, dict):
        picture, view = {"name": name, "file": upload["file"]}, upload["view"]
    else:
        return asked(goes=False)
    said = pictures_value(picture, upload, size)
    return asked(picture=picture, crop=tuple(MIDDLE), crop_view=view, pictures=said, said="", **UPWARD)


def uploaded(data: bytes | None, before: dict[str, Any], upload: Any, size: Size) -> list[Any]:
    """The visitor's picture; of one that cannot be used why, and until another is chosen nothing runs in its place."""
    try:
        image = opened(data)
    except FieldError as error:
        words = f"{error}. The picture before stays: press it to go on with it."
        said = pictures_value(before, upload, size, words)
        return asked(picture={**before, "refused": str(error).removeprefix("picture ")}, pictures=said, goes=False)
    small = image.copy()
    small.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    height, width = size or (1, 1)
    view = {"id": uuid.uuid4().hex, "picture": data_uri(small), "aspect": width / height}
    upload = {"file": png_bytes(image), "view": view}
    picture = {"name": "upload", "file": upload["file"]}
    said = pictures_value(picture, upload, size)
    return asked(picture=picture, upload=upload, crop=tuple(MIDDLE), crop_view=view, pictures=said, said="", **UPWARD)


def pictures_value(picture: dict[str, Any], upload: Any, size: Size, wrong: str = "") -> dict[str, Any]:
    """What the card of pictures shows: which one is chosen, the visitor's own, the size, and what was wrong."""
    height, width = size or (0, 0)
    words = f"cropped to {'a square, ' if width == height else ''}{width} × {height}" if size else ""
    thumb = upload["view"]["picture"] if isinstance(upload, dict) else None
    return {"chosen": picture["name"], "thumb": thumb, "size": words, "words": wrong, "bad": bool(wrong)}


def cropped(event: gr.EventData) -> Any:
    """The crop that the frame over the picture says."""
    said = event_data(event)
    try:
        x, y, zoom = (float(said[name]) for name in ("x", "y", "zoom"))
    except (KeyError, TypeError, ValueError):
        return KEEP
    return (x, y, zoom) if 0 <= x <= 1 and 0 <= y <= 1 and 1 <= zoom <= 20 else KEEP
