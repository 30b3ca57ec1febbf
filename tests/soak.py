"""`python -m tests.soak`: clients for twenty minutes, and a plot of the server's memory and files.

The plot and its figures go to tests/artifacts/soak.png and soak.json.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import psutil
from PIL import Image, ImageDraw

from tests import load, toys
from tests.server import app

ARTIFACTS = Path(__file__).parent / "artifacts"
SIZE, MARGIN = (900, 420), 60


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="Clients for a while, and a plot of memory and files."
    )
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--clients", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        points, report = soak(Path(folder), arguments.minutes * 60, arguments.clients)
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / "soak.json").write_text(json.dumps(points))
    plot(points, f"{arguments.clients} clients, {arguments.minutes:g} minutes").save(ARTIFACTS / "soak.png")
    settled = points[len(points) // 3]
    print(f"{report.line()}\nmemory {settled[1]:.0f} MB after a third, {points[-1][1]:.0f} MB at the end; files {points[-1][2]}")


def soak(folder: Path, seconds: float, clients: int) -> tuple[list[tuple[float, float, int]], load.Report]:
    """((seconds, MB of memory, files) every few seconds, what the clients saw)."""
    toys.save_tiny(folder / "models" / "tiny")
    (folder / "temp").mkdir()
    points: list[tuple[float, float, int]] = []
    with app("--models-dir", str(folder / "models"), GRADIO_TEMP_DIR=str(folder / "temp")) as server:
        process, began, over = psutil.Process(server.process.pid), time.monotonic(), threading.Event()

        def watch() -> None:
            while not over.wait(max(1.0, seconds / 200)):
                files = sum(path.is_file() for path in (folder / "temp").rglob("*"))
                points.append((time.monotonic() - began, process.memory_info().rss / 1e6, files))

        watching = threading.Thread(target=watch)
        requests = load.wanted(server.url, "models/tiny")
        watching.start()
        report = load.run(server.url, requests, clients, seconds)
        over.set()
        watching.join()
    return points, report


def plot(points: list[tuple[float, float, int]], title: str) -> Image.Image:
    """Memory above, files below, over the same seconds."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, 10), title, "black")
    height = (SIZE[1] - 2 * MARGIN) // 2
    for row, (column, unit) in enumerate(((1, "MB"), (2, "files"))):
        values = [point[column] for point in points]
        top, high = MARGIN + row * (height + 20), max(values) * 1.1 or 1
        box = (MARGIN, top, SIZE[0] - 20, top + height)
        draw.rectangle(box, outline="#cccccc")
        draw.text((4, top), f"{high:.0f} {unit}", "black")
        draw.text((4, top + height - 10), "0", "black")
        last = points[-1][0]
        line = [
            (box[0] + (box[2] - box[0]) * point[0] / last, top + height * (1 - value / high))
            for point, value in zip(points, values, strict=True)
        ]
        draw.line(line, "#0f766e", 2)
    draw.text((SIZE[0] - 90, SIZE[1] - 25), f"{points[-1][0]:.0f} s", "black")
    return image


if __name__ == "__main__":
    main()
