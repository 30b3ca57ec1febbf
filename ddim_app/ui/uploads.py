"""Pictures that visitors bring: from a file, the webcam or the clipboard, and the sentence for those that cannot be used."""

from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ddim_app.errors import FieldError
from ddim_app.media.images import open_picture
from ddim_app.runs.sources import MIDDLE, Crop, Source, of_image
from ddim_app.ui.hosting.gradio_patches import preprocessed

SHORTER_SIDE, MAX_SIDE = 1024, 8192
"""Bounds of the sides of what is kept of a picture for cropping; no model here makes larger squares than the first."""
GONE = "The uploaded file is no longer on the server, where newer ones took its room: upload it once more."


def upload(label: str, elem_id: str, **options: Any) -> gr.Image:
    """A picture input that hands over the uploaded file's bytes, untouched, or None.

    Gradio itself would open the file by any of Pillow's decoders. It has checked that the path is one of its own uploads.
    """
    component: gr.Image = gr.Image(
        None, label=label, sources=["upload", "webcam", "clipboard"], type="filepath", image_mode=None, format="png",
        elem_id=elem_id, **options,
    )  # fmt: skip
    return preprocessed(component, uploaded_bytes)


def uploaded_bytes(payload: Any) -> bytes | None:
    """The bytes of an uploaded file, by the payload of a gr.Image or gr.File; raises gr.Error when it is gone, as old ones are."""
    path = getattr(payload, "path", None)
    try:
        return Path(path).read_bytes() if path else None
    except FileNotFoundError:
        raise gr.Error(GONE, print_exception=False) from None  # which Gradio passes on as it is


def opened(data: bytes | None, field: str = "picture") -> Image.Image:
    """The upright RGB picture of a file, its shorter side at most SHORTER_SIDE; raises FieldError with one sentence.

    By its shorter side, so that a panorama keeps all the detail that a model can take; its longer one has at most MAX_SIDE.
    """
    if not data:
        raise FieldError(field, "must be chosen first: upload one, paste it, or take an example")
    try:
        image = open_picture(data, at_least=SHORTER_SIDE)
    except ValueError as error:
        raise FieldError(field, f"cannot be used: {error}") from error
    scale = min(1.0, SHORTER_SIDE / min(image.size), MAX_SIDE / max(image.size))
    if scale == 1:
        return image
    factor = int(1 / scale)
    if factor > 1:
        image = image.reduce((min(factor, image.width), min(factor, image.height)))
    scale = min(1.0, SHORTER_SIDE / min(image.size), MAX_SIDE / max(image.size))
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)


def fitted(data: bytes | None, shape: tuple[int, int, int], crop: Crop = MIDDLE, field: str = "picture") -> Source:
    """The file's picture, cropped and fitted to a model, for a recipe; raises FieldError."""
    return of_image(opened(data, field), shape, crop)
