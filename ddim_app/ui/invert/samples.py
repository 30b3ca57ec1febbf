"""Pictures to begin with: three photographs that everybody may use, and the model's own sample of the seed."""

import base64
import io
from functools import cache
from typing import Any, NamedTuple

from PIL import Image

from ddim_app.media.images import png_bytes
from ddim_app.ui.assets import FOLDER

THUMBNAIL = 112
KEPT = (
    "Your picture is kept in this server's memory and temporary folder for at most 24 hours, and sent nowhere else. "
    "Photographs: cat by Stefan van der Walt (CC0), coffee by Rachel Michetti (CC0), rocket by SpaceX (public domain)."
)


class Sample(NamedTuple):
    """A photograph of `ui/stored/samples`, a crop of one that scikit-image hands out with its licence."""

    title: str
    credit: str


SAMPLES = {
    "cat": Sample("A cat", "Stefan van der Walt, CC0"),
    "coffee": Sample("A cup of coffee", "Rachel Michetti, CC0"),
    "rocket": Sample("A rocket", "SpaceX, public domain"),
}
FIRST = "cat"
"""The one that the tab opens with."""


@cache
def sample_png(name: str) -> bytes:
    """A sample as a PNG file."""
    return png_bytes(opened(name))


@cache
def shown(own: str) -> tuple[dict[str, Any], ...]:
    """The samples as the page takes them; `own` is the data URI of the model's own, which stands last."""
    samples = [{"name": name, "picture": _thumbnail(name), "title": f"{s.title} ({s.credit})"} for name, s in SAMPLES.items()]
    return (*samples, {"name": "own", "picture": own, "title": "The model's own sample of the seed, whose noise is known"})


def opened(name: str) -> Image.Image:
    """A sample, 256 x 256."""
    return Image.open(FOLDER / "stored" / "samples" / f"{name}.webp", formats=("WEBP",)).convert("RGB")


def _thumbnail(name: str) -> str:
    buffer = io.BytesIO()
    opened(name).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
