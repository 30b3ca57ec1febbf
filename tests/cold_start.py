"""Seconds from the start of `python app.py` to the first picture in a browser: `python -m tests.cold_start`."""

import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser

from playwright.sync_api import Error, Page, sync_playwright

from tests.browser.page import FLAGS, chromium
from tests.server import ROOT, free_port

MOST_SECONDS = 300
DRAWN = "document.querySelector('#stage .arm canvas[aria-label*=\", step \"]')"


def seconds(page: Page) -> tuple[float, float]:
    """Of one start in a process of its own: seconds until the page is answered, and until its first picture stands there."""
    port, began = free_port(), time.perf_counter()
    command = [sys.executable, "app.py", "--port", str(port), "--no-hub"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            assert process.poll() is None, "the server has ended"
            assert time.perf_counter() - began < MOST_SECONDS, "the server does not answer"
            try:
                page.goto(f"http://127.0.0.1:{port}", wait_until="commit")
                break
            except Error:  # nobody listens yet
                time.sleep(0.05)
        answered = time.perf_counter() - began
        page.wait_for_function(DRAWN, timeout=1000 * MOST_SECONDS)
        return answered, time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="how many starts (5)")
    times = parser.parse_args().times
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium(), args=FLAGS) as browser:
        starts = []
        for _ in range(times):
            with browser.new_context() as context:
                starts.append(seconds(context.new_page()))
    for name, values in zip(("page answered", "first picture"), zip(*starts, strict=True), strict=True):
        print(f"{name}: {statistics.median(values):.1f} s in the median of {times}, {min(values):.1f} s the fastest")


if __name__ == "__main__":
    main()
