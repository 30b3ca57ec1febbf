"""The picture that the Learn tab works on: a sample of the bundled model, one of the chosen model, or an upload."""

import base64
import io
from functools import cache
from typing import Any

import gradio as gr
from PIL import Image

from ddim_app.media.images import png_bytes
from ddim_app.ui import uploads
from ddim_app.ui.components import stage
from ddim_app.ui.fields import PRIVATE
from ddim_app.ui.learn.panel import YOURS
from ddim_app.ui.served_files import keep

MOST = 512
"""Longer side of what is kept."""


@cache
def samples() -> list[Image.Image]:
    """The finished pictures of the stored run."""
    run = stage.stored_run()
    final = max((frame for frame in run["frames"] if frame["arm"] == 0), key=lambda frame: frame["k"])
    sheet = Image.open(io.BytesIO(base64.b64decode(final["x_t"].split(",")[1]))).convert("RGB")
    width = run["width"]
    pictures = [sheet.crop((i * width, 0, (i + 1) * width, run["height"])) for i in range(len(run["seeds"]))]
    for i, (image, seed) in enumerate(zip(pictures, run["seeds"], strict=True)):
        image.info = {"of": f"sample {i + 1}, the bundled model's of seed {seed}"}
    return pictures


def build() -> gr.State:
    """The components to choose by; returns the state that holds the chosen PIL picture."""
    chosen = gr.State(samples()[0])
    with gr.Accordion("Picture: sample 1", open=False, elem_id="learn-picture") as fold, gr.Row():
        gallery = gr.Gallery(
            [(_enlarged(image), f"sample {i + 1}") for i, image in enumerate(samples())],
            label="Samples of the bundled model", columns=4, height=170, allow_preview=False, format="png", elem_id="learn-samples",
            interactive=False,
        )  # fmt: skip
        upload = uploads.upload("Or a picture of yours", "learn-upload", height=170)

    def pick(event: gr.SelectData) -> Any:
        i = event.index if isinstance(event.index, int) and 0 <= event.index < len(samples()) else 0
        return samples()[i], gr.update(label=f"Picture: sample {i + 1}")

    def take(data: bytes | None) -> Any:
        if data is None:
            return samples()[0], gr.update(label="Picture: sample 1")
        image = uploads.opened(data)
        image.thumbnail((MOST, MOST))
        image.info = {"of": YOURS}
        return image, gr.update(label=f"Picture: {YOURS}")

    gallery.select(pick, None, [chosen, fold], **PRIVATE)
    upload.change(uploads_said(take), upload, [chosen, fold], **PRIVATE)
    # Not on a change of the state, of which the page hears once without any.
    gr.on(
        [gallery.select, upload.input],
        None,
        None,
        None,
        js="() => { window.lessonsStale?.(); return []; }",
        **PRIVATE,
    )
    return chosen


def _enlarged(image: Image.Image) -> str:
    return keep(png_bytes(image.resize((128, 128), Image.Resampling.NEAREST)), "image.png")


def uploads_said(take: Any) -> Any:
    """The handler with the sentence of a picture that cannot be used shown as a message."""

    def handler(data: bytes | None) -> Any:
        try:
            return take(data)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return handler
