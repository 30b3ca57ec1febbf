"""What a visitor does on the Invert tab."""

import io

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

PIXELS = """slot => { const canvas = document.querySelector(`#invert figure[data-slot="${slot}"] canvas`);
  return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 < 3); }"""


def picture(width: int = 48, height: int = 32) -> bytes:
    """A disc on a ground, off the middle."""
    y, x = np.mgrid[:height, :width]
    disc = ((x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2)[..., None]
    buffer = io.BytesIO()
    Image.fromarray(np.where(disc, [230, 160, 90], [40, 90, 160]).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def open_invert(page: Page, steps: int | None = None) -> None:
    page.get_by_role("tab", name="Invert").click()
    expect(page.locator("#run-invert")).to_be_visible()
    page.wait_for_function("document.querySelector('#invert .invert')?.dataset.drawn")  # the round trip that it opens with
    if steps is not None:
        take_steps(page, steps)


def take_steps(page: Page, steps: int) -> None:
    page.locator("#steps-invert input").fill(str(steps))
    page.locator("#steps-invert input").blur()


def bring(page: Page, data: bytes, name: str = "picture.png", mime: str = "image/png") -> None:
    page.locator("#invert-upload input[type=file]").set_input_files({"name": name, "mimeType": mime, "buffer": data})


def drawn(page: Page) -> str:
    return str(page.evaluate("document.querySelector('#invert .invert').dataset.drawn || ''"))


def until_other(page: Page, before: str) -> None:
    """Waits for a round trip that is through, other than the one before."""
    page.wait_for_function(
        "before => { const d = document.querySelector('#invert .invert').dataset.drawn; return d && d !== before; }", arg=before,
        timeout=120_000,
    )  # fmt: skip


def run_inversion(page: Page) -> None:
    before = drawn(page)
    page.click("#run-invert")
    until_other(page, before)


def first(page: Page) -> str:
    return page.locator("#invert .first").inner_text()
