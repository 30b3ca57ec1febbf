"""Times the page as a visitor meets it: `python -m tests.browser.timing`.

From `python app.py` to a page that can be used, from Run to the first streamed preview, and to the finished comparison of four
pictures, two samplers, 25 steps; how a frame change of the replay and the streaming of twice the steps take. Nothing here is
asserted: machines are shared.
"""

import socket
import statistics
import subprocess
import sys
import time

from playwright.sync_api import Page, sync_playwright

from ddim_app.engine import ROOT
from tests.browser.conftest import FLAGS, chromium

STATUS = "document.querySelector('#status p')?.textContent.startsWith('{}')"


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def reach(page: Page, url: str) -> None:
    """Opens the page as soon as the server answers, and waits until Run can be pressed and the stored run is drawn."""
    while True:
        try:
            page.goto(url)
            break
        except Exception:
            time.sleep(0.05)
    page.wait_for_selector("#run")
    page.wait_for_function("document.querySelectorAll('#stage canvas').length > 0")


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
  const scrub = document.querySelector('#stage .scrub'), times = [];
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
    page.fill("#pictures input[type=number]", "1")
    page.press("#pictures input[type=number]", "Tab")
    page.fill("#steps input", str(steps))
    page.press("#steps input", "Tab")
    seconds = run(page)[1]
    page.wait_for_selector("#stage .arms[aria-busy=false]")
    return seconds


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
        finally:
            app.terminate()
            app.wait()
        browser.close()


if __name__ == "__main__":
    main()
