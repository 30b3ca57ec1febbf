"""Times what answers by itself: `python -m tests.browser.timing_live`. Nothing is asserted: machines are shared.

Stored settings and live ones from a slider's move to the pixels, a drag of two seconds, the first screen beside a page of one
button, a reload, the tabs as they are opened, and an own photo.
"""

import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from ddim_app.models.catalogue import ROOT
from tests.browser.page import FLAGS, chromium, open_page
from tests.browser.timing import free_port, told

TIMES = 20
BARE = "import gradio as gr\nwith gr.Blocks() as page:\n    gr.Button('One', elem_id='one')\npage.launch(server_port={})"
# From the slider's next move to the first pixels that differ, and to all pictures being those of the setting that `words` name.
WATCH = """words => {
  const figure = document.querySelector('#stage .arm'), canvas = figure.querySelector('canvas');
  const pixels = () => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.join();
  const before = pixels();
  window.times = {};
  document.addEventListener('pointermove', () => {
    const began = performance.now();
    const look = () => {
      const now = performance.now() - began;
      if (!times.changed && pixels() !== before) times.changed = now;
      if (figure.querySelector('figcaption').textContent.includes(words) && times.changed && !window.moving()
        && document.querySelector('#stage .arms').getAttribute('aria-busy') === 'false'
        && !document.querySelectorAll('#stage .arm .stale').length) times.whole = now;
      else requestAnimationFrame(look);
    };
    look();
  }, {once: true, capture: true});
}"""
ARRIVALS = """() => { window.seen = []; const tell = window.arrived;
  window.arrived = serial => { seen.push(serial); tell(serial); }; }"""
FIRST_SCREEN = """document.querySelectorAll('#stage .arm canvas[aria-label*=", step "]').length > 7
  && [...document.querySelectorAll('#ladder .cell img')].filter(image => image.complete && image.naturalWidth).length > 11
  && document.querySelectorAll('#ladder svg path, #ladder svg polyline').length > 1"""


def place_of(page: Page, dial: str, value: float) -> tuple[float, float]:
    """Where on its slider a value lies, in pixels of the window."""
    box = page.locator(f"#{dial} [role=slider]").bounding_box()
    assert box is not None
    part = np.log(value) / np.log(1000) if dial == "steps" else value
    return box["x"] + float(part) * box["width"], box["y"] + box["height"] / 2


def moved(page: Page, dial: str, value: float, words: str) -> dict[str, float]:
    """Milliseconds from a move of the held slider to the first changed pixels and to the whole."""
    page.evaluate(WATCH, words)
    page.mouse.move(*place_of(page, dial, value))
    page.wait_for_function("times.whole")
    return dict(page.evaluate("times"))


def fill(page: Page, field: str, value: object) -> None:
    page.fill(f"#{field} input", str(value))
    page.press(f"#{field} input", "Tab")
    page.wait_for_timeout(1500)


def seconds_of_runs(log: Path) -> list[float]:
    """What the engine's own log says that each finished sampling run took."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    runs = [line.get("log", line) for line in lines]
    return [run["seconds"] for run in runs if run.get("event") == "run" and run["kind"] == "sampling" and run["outcome"] == "done"]


def dragged(page: Page, log: Path) -> None:
    """Stored and live settings under a held slider."""
    page.mouse.move(*place_of(page, "steps", 5))
    page.mouse.down()
    page.wait_for_timeout(1000)
    stored = [moved(page, "steps", steps, f"{steps} steps") for _ in range(TIMES // 4) for steps in (10, 20, 50, 7)]
    told("stored setting, from the slider to the pixels", [each["whole"] for each in stored])
    page.mouse.up()
    page.locator("#pictures").get_by_role("radio", name="1", exact=True).check()
    fill(page, "seed", 123)
    page.mouse.move(*place_of(page, "steps", 7))
    page.mouse.down()
    page.wait_for_timeout(1500)
    changed, whole, engine = [], [], []
    for at in range(2 * TIMES):
        steps = (10, 7)[at % 2]
        times = moved(page, "steps", steps, f"{steps} steps")
        page.wait_for_timeout(300)
        if steps == 10:
            changed.append(times["changed"])
            whole.append(times["whole"])
            engine.append(1000 * seconds_of_runs(log)[-1])
    page.mouse.up()
    told("live, both arms, 1 picture, 10 steps: the first changed picture", changed)
    told("  all of it", whole)
    told("  the engine's own time for all of it", engine)
    told("  all of it less the engine's time", [one - two for one, two in zip(whole, engine, strict=True)])


def drag_of_two_seconds(page: Page) -> None:
    """How many settings are seen while eta goes from end to end."""
    counts = []
    for pictures in ("1", "4"):
        page.locator("#pictures").get_by_role("radio", name=pictures, exact=True).check()
        page.wait_for_timeout(2000)
        for _ in range(3):
            page.mouse.move(*place_of(page, "eta", 0))
            page.mouse.down()
            page.wait_for_timeout(1500)
            page.evaluate(ARRIVALS)
            page.keyboard.down("Shift")
            began = time.perf_counter()
            while (gone := time.perf_counter() - began) < 2:
                page.mouse.move(*place_of(page, "eta", gone / 2))
            counts.append(len(set(page.evaluate("seen"))))
            page.keyboard.up("Shift")
            page.mouse.up()
            page.wait_for_timeout(2500)
    print(f"a drag of 2 s over eta, 10 steps, showed 1 picture {counts[:3]} times, 4 pictures {counts[3:]} times", flush=True)


def opened(browser: Browser, url: str, ready: str) -> float:
    """Milliseconds from asking for a page until it is ready, in a fresh visit."""
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        began = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.wait_for_function(ready, polling="raf")
        return 1000 * (time.perf_counter() - began)


def first_screen(browser: Browser, url: str) -> None:
    port = free_port()
    bare = subprocess.Popen([sys.executable, "-c", BARE.format(port)], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        time.sleep(8)
        for _ in range(2):
            opened(browser, f"http://127.0.0.1:{port}", "document.querySelector('#one')")
        pairs = [
            (opened(browser, f"http://127.0.0.1:{port}", "document.querySelector('#one')"), opened(browser, url, FIRST_SCREEN))
            for _ in range(TIMES)
        ]
    finally:
        bare.terminate()
    one, ours = map(list, zip(*pairs, strict=True))
    told("a bare page of one button", one)
    told("first screen with pictures, ladder and chart", ours)
    told("  more than the bare page", [b - a for a, b in pairs])


def reloaded(page: Page) -> None:
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        page.reload(wait_until="commit")
        page.wait_for_function(FIRST_SCREEN.replace("> 7", "> 1"), polling="raf")
        times.append(1000 * (time.perf_counter() - began))
        page.wait_for_timeout(1000)
    told("reload until pictures, ladder and chart stand again", times)


TABS = (
    ("Steps × η", "document.querySelector('#matrix table')?.dataset.drawn"),
    ("Interpolate", "document.querySelectorAll('#strips .bar').length > 30"),
    ("Invert", "document.querySelector('#invert .invert')?.dataset.drawn"),
    ("Learn", "document.querySelector('#world canvas')"),
)
# From a press to the condition, in milliseconds, as the page itself sees it.
PRESSED = """(button, ready) => new Promise(done => {
  const began = performance.now(), is = new Function(`return ${ready}`);
  const look = () => is() ? done(performance.now() - began) : requestAnimationFrame(look);
  button.click();
  requestAnimationFrame(look);
})"""


def tabs(browser: Browser, url: str) -> None:
    """Each tab of a fresh page, from the press to its first pictures."""
    for name, ready in TABS:
        times = []
        for _ in range(TIMES // 4):
            with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
                page = context.new_page()
                open_page(page, url)
                page.wait_for_timeout(1500)
                times.append(float(page.get_by_role("tab", name=name).evaluate(PRESSED, ready)))
        told(f"{name} opened, to its first picture", times)


# From the choice of a file to the first frame of its way up.
DROPPED = """() => {
  window.began = window.ups = 0;
  const tell = () => { began = performance.now(); }, $ = where => document.querySelector(where);
  $('#invert-upload').addEventListener('change', tell, {once: true, capture: true});
  const look = () => {
    const isUp = began && /^up/.test($('#invert .note').textContent) && $('#invert .invert').getAttribute('aria-busy') !== 'false';
    if (isUp) ups = performance.now() - began; else requestAnimationFrame(look);
  };
  look();
}"""


def own_photo(browser: Browser, url: str) -> None:
    """A photo of 4000 x 3000 pixels, from the drop to the way up and to the verdict."""
    y, x = np.mgrid[:3000, :4000]
    grain = np.random.default_rng(0).integers(0, 40, (3000, 4000, 3))
    pixels = np.stack([x / 20, y / 15, 255 - x / 20], -1) + grain
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": buffer.getvalue()}
    up, verdict = [], []
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        open_page(page, url)
        page.get_by_role("tab", name="Invert").click()
        page.wait_for_function("document.querySelector('#invert .invert')?.dataset.drawn")
        for _ in range(TIMES // 4):
            before = page.evaluate("document.querySelector('#invert .invert').dataset.drawn")
            page.evaluate(DROPPED)
            page.locator("#invert-upload input[type=file]").set_input_files(photo)
            page.wait_for_function(
                "before => { const d = document.querySelector('#invert .invert').dataset.drawn; return d && d !== before; }",
                arg=before, polling="raf",
            )  # fmt: skip
            verdict.append(float(page.evaluate("performance.now() - began")))
            up.append(float(page.evaluate("ups")))
            page.wait_for_timeout(6_000)  # the other ways follow
    told(f"own photo of {len(photo['buffer']) / 1e6:.1f} MB, from the drop to the way up", up)
    told("  to the verdict", verdict)


PARTS: dict[str, Callable[[Browser, str, Path], None]] = {
    "drag": lambda browser, url, log: on_a_page(browser, url, lambda page: dragged(page, log)),
    "seconds": lambda browser, url, log: on_a_page(browser, url, lambda page: (fill(page, "seed", 123), drag_of_two_seconds(page))),
    "first": lambda browser, url, log: first_screen(browser, url),
    "reload": lambda browser, url, log: on_a_page(browser, url, reloaded),
    "tabs": lambda browser, url, log: tabs(browser, url),
    "photo": lambda browser, url, log: own_photo(browser, url),
}


def on_a_page(browser: Browser, url: str, measure: Callable[[Page], object]) -> None:
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        open_page(page, url, live=True)
        page.wait_for_timeout(3000)
        measure(page)


def main(parts: list[str]) -> None:
    """Measures the parts named, or all."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with sync_playwright() as playwright, tempfile.NamedTemporaryFile("w") as log:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        app = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, stderr=log)
        try:
            time.sleep(15)
            for name in parts or PARTS:
                if name in PARTS:
                    PARTS[name](browser, url, Path(log.name))
        finally:
            app.terminate()
            app.wait()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
