"""`python -m tests.soak`: clients for an hour, and a plot of the server's memory and files.

Half of what they ask goes to the API, some of it wrong, dropped or never read; a third are drags with Live on, whose
connection breaks at times; the rest uploads. Plot, figures and the server's log go to soak.svg, soak.json and soak.log in a folder.
"""

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests import load, open_page, toys
from tests.chaos import tracebacks
from tests.server import Server, app
from tests.wire import wait_for

ARTIFACTS = Path(__file__).parent / "artifacts"
WIDTH, HEIGHT, LEFT, TOP, GAP = 900, 150, 70, 40, 30
"""Pixels: of a row of the plot, of its left and upper margins, and between rows."""
ROWS = ((1, "MB of memory"), (2, "files"), (3, "MB of files"))
MODEL = "models/tiny"
Point = tuple[float, float, int, float]
"""Seconds, MB of memory, files, MB of files."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Clients for a while, and a plot of memory and files."
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--output", type=Path, default=ARTIFACTS, help="folder of plot, figures and log (default: tests/artifacts)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    keep = arguments.output / "soak.log"
    with tempfile.TemporaryDirectory() as folder:
        points, report = soak(Path(folder), arguments.minutes * 60, arguments.clients, keep)
    (arguments.output / "soak.json").write_text(json.dumps(points))
    title = f"{arguments.clients} clients, {arguments.minutes:g} minutes: memory and files of the server"
    (arguments.output / "soak.svg").write_text(plot(points, title))
    print(f"{report.line()}\n{described(points)}\ntracebacks in the log: {dict(tracebacks(keep.read_text().splitlines()))}")


def described(points: list[Point]) -> str:
    """How memory and files stood after the first third: means over the sixth that follows and over the last one."""
    third, sixth = len(points) // 3, max(1, len(points) // 6)
    after, last = ([point[1] for point in part] for part in (points[third : third + sixth], points[-sixth:]))
    settled, end, later = sum(after) / len(after), sum(last) / len(last), [point[1] for point in points[third:]]
    memory = f"{settled:.0f} MB after a third, {end:.0f} MB at the end, {100 * (end / settled - 1):+.1f} %"
    most = f"at most {max(point[2] for point in points)} files of {max(point[3] for point in points):.0f} MB"
    return f"memory {memory}; lowest {min(later):.0f}, highest {max(later):.0f} MB; {most}"


def soak(folder: Path, seconds: float, clients: int, keep: Path) -> tuple[list[Point], load.Report]:
    """(a point every few seconds, what the clients saw); `keep` is a file for the server's log."""
    toys.save_tiny(folder / "models" / "tiny")
    (folder / "temp").mkdir()
    points: list[Point] = []
    with app("--models-dir", str(folder / "models"), keep=keep, GRADIO_TEMP_DIR=str(folder / "temp")) as server:
        server.wait_until_warm(600)
        # Else it prepares OpenVINO, and grows by 200 MB, as soon as the clients leave the device alone for a moment.
        wait_for(lambda: bool(open_page.served_by(server.url)["reason"]), 1800)
        requests = asked(server.url)
        began, over = time.monotonic(), threading.Event()

        def watch() -> None:
            while not over.wait(max(1.0, seconds / 360)):
                points.append(point(server, folder / "temp", time.monotonic() - began))

        watching = threading.Thread(target=watch)
        watching.start()
        report = load.run(server.url, requests, clients, seconds)
        over.set()
        watching.join()
        return points, report


def asked(url: str) -> list[load.Request]:
    """What clients choose from: ten requests to the API, six drags and four uploads, each answered alone."""
    drags = [open_page.drag(url, MODEL, seed) for seed in range(6)]
    return [*load.wanted(url, MODEL), *drags, *(open_page.upload(url, MODEL, seed) for seed in range(4))]


def point(server: Server, temp: Path, seconds: float) -> Point:
    sizes = []
    for place, _, names in os.walk(temp):  # which goes past folders that the server deletes meanwhile
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append((Path(place) / name).stat().st_size)
    return seconds, psutil.Process(server.process.pid).memory_info().rss / 1e6, len(sizes), sum(sizes) / 1e6


def plot(points: list[Point], title: str, rows: Sequence[tuple[int, str]] = ROWS) -> str:
    """An SVG of memory, files and their bytes, one above the other, over the same seconds."""
    last = points[-1][0]
    bottom = TOP + len(rows) * (HEIGHT + GAP)
    parts = [f'<text x="{LEFT}" y="20" font-size="15">{title}</text>']
    for row, (column, unit) in enumerate(rows):
        top, most = TOP + row * (HEIGHT + GAP), max(point[column] for point in points) * 1.1 or 1
        dots = " ".join(
            f"{LEFT + (WIDTH - LEFT - 20) * point[0] / last:.1f},{top + HEIGHT * (1 - point[column] / most):.1f}"
            for point in points
        )
        parts += [
            f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - 20}" height="{HEIGHT}" fill="none" stroke="#cccccc"/>',
            f'<text x="{LEFT + 6}" y="{top + 16}">{unit}</text>',
            f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{most:.0f}</text>',
            f'<text x="{LEFT - 6}" y="{top + HEIGHT}" text-anchor="end">0</text>',
            f'<polyline points="{dots}" fill="none" stroke="#0f766e" stroke-width="2"/>',
        ]
    parts.append(f'<text x="{WIDTH - 20}" y="{bottom}" text-anchor="end">{last / 60:.0f} minutes</text>')
    style = 'font-family="sans-serif" font-size="12" fill="#222222"'
    size = f'width="{WIDTH}" height="{bottom + 10}" viewBox="0 0 {WIDTH} {bottom + 10}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', '<rect width="100%" height="100%" fill="white"/>', *parts]
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    main()
