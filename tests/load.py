"""Many clients at once against a served page: mixed requests, some cancelled, some dropped, every answer checked."""

import io
import json
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from PIL import Image

from tests.server import SOURCE, drop, events, get, named, post

AGAIN_SECONDS = (0.5, 1.5)
"""How long somebody who was refused waits before asking again."""
PATIENCE = 300
"""Seconds that a client waits for an answer, on a machine that does other work."""
LEVELS = 1
"""Of 255, by which a picture in fp32 may differ when its calls had another size."""


@dataclass
class Report:
    """What the clients saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def fault(self, request: "Request", error: Exception) -> None:
        """Takes down what was not as it should be, and says when and where, so that the server's log can be searched for it."""
        where = next(each for each in reversed(traceback.extract_tb(error.__traceback__)) if "/tests/" in each.filename)
        self.faults.append(f"{type(request).__name__}, {where.name}: {type(error).__name__}: {str(error)[:200]}")
        print(time.strftime("%H:%M:%S"), self.faults[-1], flush=True)

    def line(self) -> str:
        late = np.percentile(self.latencies, [50, 95]) if self.latencies else (float("nan"),) * 2
        worst = ""
        if self.refusals:
            usual, most = np.percentile(self.refusals, [50, 95])
            worst = f", refused within {usual:.3f} s in the median, {most:.3f} s at p95"
        counts = ", ".join(f"{count} {word}" for word, count in sorted(self.outcomes.items()))
        return f"{counts}; latency {late[0]:.2f} s in the median, {late[1]:.2f} s at p95{worst}; {len(self.faults)} faults"


class Request(Protocol):
    """What a client may ask."""

    def ask(self, url: str, mood: float, report: Report) -> bool:
        """Asks once, and reads the answer to its end or gives up as the mood, from 0 to 1, is; whether there was room for it."""
        ...


@dataclass
class Wanted:
    """A request to /generate and its answer to a single user."""

    values: list[Any]
    recipe: dict[str, Any]
    pixels: list[np.ndarray]

    def ask(self, url: str, mood: float, report: Report) -> bool:
        began, is_wrong = time.monotonic(), mood < 0.1
        values = [*self.values[:2], -5, *self.values[3:]] if is_wrong else self.values
        status, body = post(url, "/gradio_api/call/generate", {"data": values}, seconds=PATIENCE)
        if status == 503:
            report.refusals.append(time.monotonic() - began)
            report.outcomes["refused as the queue was full"] += 1
            assert b"Queue is full" in body
            return False
        if is_wrong:
            report.outcomes["refused as wrong" if status == 422 else f"HTTP {status}"] += 1
            return True
        assert status == 200, f"HTTP {status}: {body[:200]!r}"
        path = f"/gradio_api/call/generate/{json.loads(body)['event_id']}"
        if mood < 0.2:
            drop(url, path, PATIENCE)
            report.outcomes["dropped"] += 1
        elif mood < 0.23:
            report.outcomes["never read"] += 1
        else:
            name, data = events(url, path, PATIENCE)[-1]
            assert name == "complete", data
            report.latencies.append(time.monotonic() - began)
            assert _same(data[1]["recipe"]) == self.recipe, "somebody else's answer"
            assert_same_pictures(pixels_of(url, data[0]), self.pixels)
            report.outcomes["answered"] += 1
        return True


def assert_same_pictures(here: list[np.ndarray], alone: list[np.ndarray]) -> None:
    for one, other in zip(here, alone, strict=True):
        assert np.abs(one.astype(int) - other).max() <= LEVELS, "somebody else's picture"


def wanted(url: str, model: str) -> list[Wanted]:
    """The requests that clients choose from, each answered alone."""
    made = []
    for i in range(10):
        method = "ddpm" if i % 3 == 0 else "ddim"
        values = named(
            url, "generate", model=model, method=method, steps=2 + 3 * i, eta=0.5 * (i % 3), seed=1000 + i, pictures=1 + i % 4,
            precision="fp32",
        )  # fmt: skip
        name, data = events(url, f"/gradio_api/call/generate/{_posted(url, values)}")[-1]
        assert name == "complete", data
        made.append(Wanted(values, _same(data[1]["recipe"]), pixels_of(url, data[0])))
    return made


def run(url: str, requests: Sequence[Request], clients: int, seconds: float, seed: int = 0, sources: Sequence[str] = ()) -> Report:
    """Lets that many clients ask for that long, from these addresses in turn."""
    report, until = Report(), time.monotonic() + seconds
    threads = [
        threading.Thread(
            target=_client,
            args=(url, requests, until, random.Random(seed * 1000 + i), report, sources[i % len(sources)] if sources else None),
        )
        for i in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 2 * PATIENCE)
        assert not thread.is_alive(), "a client never got its answer"
    return report


def _client(url: str, requests: Sequence[Request], until: float, choose: random.Random, report: Report, source: str | None) -> None:
    SOURCE.set((source, 0) if source else None)
    while time.monotonic() < until:
        request = choose.choice(requests)
        try:
            if not request.ask(url, choose.random(), report):
                time.sleep(choose.uniform(*AGAIN_SECONDS))
        except Exception as error:
            report.fault(request, error)


def _posted(url: str, values: list[Any]) -> str:
    status, body = post(url, "/gradio_api/call/generate", {"data": values})
    assert status == 200, body
    return str(json.loads(body)["event_id"])


def _same(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without what depends on the neighbours."""
    return {key: value for key, value in recipe.items() if key != "bucket"}


def pixels_of(url: str, gallery: list[dict[str, Any]]) -> list[np.ndarray]:
    found = []
    for entry in gallery:
        status, body = get(url, f"/gradio_api/file={entry['image']['path']}")
        assert status == 200, f"HTTP {status}: {body[:200]!r}, {entry}"
        found.append(np.asarray(Image.open(io.BytesIO(body))))
    return found
