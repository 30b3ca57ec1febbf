"""Times the page as a visitor meets it: `python -m tests.browser.timing`.

From `python app.py` to a page that can be used, from Run to the first streamed preview, and to the finished comparison of four
pictures, two samplers, 25 steps; how long a frame change of the replay, the streaming of twice the steps and a move of the
sliders in Learn take. Nothing here is asserted: machines are shared.
"""

import socket
import statistics
import subprocess
import sys
import time

from playwright.sync_api import Page, sync_playwright

from ddim_app.models.catalogue import ROOT
from tests.browser.learning import go, open_learn
from tests.browser.page import FLAGS, chromium

STATUS = "document.querySelector('#status p')?.textContent.startsWith('{}')"


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def told(name: str, milliseconds: list[float]) -> None:
    """Prints a median with its range."""
    low, middle, high = min(milliseconds), statistics.median(milliseconds), max(milliseconds)
    print(f"{name}: median {middle:.0f} ms ({low:.0f} to {high:.0f}, {len(milliseconds)} times)", flush=True)


def reach(page: Page, url: str) -> None:
    """Opens the page as soon as the server answers, and waits until Run can be pressed and the stored run is drawn."""
    while True:
        try:
            page.goto(url)
            break
        except Exception:
            time.sleep(0.05)
    page.click("#live button")
    page.wait_for_selector("#run")
    page.wait_for_function("document.querySelector('#stage .arm canvas[aria-label*=\", step \"]')")


def run(page: Page) -> tuple[float, float]:
    """Seconds from Run to the first preview, and to the end."""
    page.evaluate("document.querySelector('#status p').textContent = ''")
    began = time.perf_counter()
    page.click("#run")
    page.wait_for_function(STATUS.format("Step"))
    first = time.perf_counter() - began
    page.wait_for_function(STATUS.format("Done"), timeout=60_000)
    return first, time.perf_counter() - began


FRAME_CHANGES = """() => {
  const scrub = document.querySelector('#replay .scrub'), times = [];
  for (let at = 0; at <= +scrub.max; at++) {
    const began = performance.now();
    scrub.value = at;
    scrub.dispatchEvent(new Event('input'));
    document.querySelector('#stage canvas').getContext('2d').getImageData(0, 0, 1, 1);   // until it is drawn
    times.push(performance.now() - began);
  }
  return times;
}"""


def frame_changes(page: Page) -> list[float]:
    """Milliseconds of each frame change of the run on the stage, all pictures and their difference drawn."""
    return [float(time) for time in page.evaluate(FRAME_CHANGES)]


def streaming(page: Page, steps: int) -> float:
    """Seconds from Run to the end of a run of that many steps, one picture, all its frames on the stage."""
    page.locator("#pictures").get_by_role("radio", name="1", exact=True).check()
    page.fill("#steps input", str(steps))
    page.press("#steps input", "Tab")
    seconds = run(page)[1]
    page.wait_for_selector("#stage .arms[aria-busy=false]")
    return seconds


CHAPTERS = (
    ("Noise comes in", "noise-comes-in", "#forward-t", "#forward-figures", "t = {}", (100, 300, 500, 700, 900, 200, 400, 600)),
    ("The family", "the-family-eta", "#eta", "#family-figures", "η = {}", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
    ("Schedules", "schedules", "#steps-learn", "#schedule-formula", "for the {} chosen", (5, 10, 15, 20, 30, 35, 40, 45)),
    ("One step", "one-step", "#step-t", "#step-formula", "{}", (100, 300, 500, 700, 900, 200, 400, 600)),
)
MOVE = """([dial, value, where, words]) => new Promise(done => {
  const input = document.querySelector(dial + ' input');
  const began = performance.now();
  input.value = value;
  input.dispatchEvent(new Event('input', {bubbles: true}));
  const look = () => document.querySelector(where).textContent.includes(words)
    ? done(performance.now() - began) : requestAnimationFrame(look);
  look();
})"""


def sliders(page: Page) -> None:
    """Prints the milliseconds from a slider's move to the chapter's new figures, for the chapters that answer at once."""
    open_learn(page)
    page.locator("#contents").get_by_role("button", name="Settings").click()
    for title, slug, slider, where, words, values in CHAPTERS:
        go(page, title, slug)
        page.wait_for_timeout(1500)
        times = []
        for value in values:
            times.append(float(page.evaluate(MOVE, [slider, value, where, words.format(value)])))
            page.wait_for_timeout(700)  # the lines of costs follow
        print(f"{title}: median {statistics.median(times):.0f} ms ({min(times):.0f} to {max(times):.0f})")


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        port = free_port()
        began = time.perf_counter()
        app = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            reach(page, f"http://127.0.0.1:{port}")
            print(f"page usable {time.perf_counter() - began:.1f} s after `python app.py`")
            page.fill("#steps input", "25")
            page.press("#steps input", "Tab")
            first, whole = run(page)
            print(f"at once: first preview {first:.2f} s after Run, all {whole:.2f} s")
            page.wait_for_timeout(5000)
            times = [run(page) for _ in range(5)]
            for name, seconds in zip(("first preview", "4 pictures x 2 arms x 25 steps"), zip(*times, strict=True), strict=True):
                print(f"{name}: median {statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})")
            changes = frame_changes(page)
            print(f"frame change: median {statistics.median(changes):.1f} ms, longest of {len(changes)} {max(changes):.1f} ms")
            pairs = [(streaming(page, 200), streaming(page, 400)) for _ in range(3)]
            ratio = statistics.median(long / short for short, long in pairs)
            print(f"400 steps against 200: {ratio:.2f} times as long; " + ", ".join(f"{a:.1f} and {b:.1f} s" for a, b in pairs))
            sliders(page)
        finally:
            app.terminate()
            app.wait()
        browser.close()


if __name__ == "__main__":
    main()
