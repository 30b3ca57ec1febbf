"""A page as it stands open in a browser, as far as the server sees it: a session with its heartbeat, Live, and uploads."""

import base64
import functools
import http.client
import io
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from ddim_app.media.images import png_bytes
from tests.load import PATIENCE, Report, assert_same_pictures, pixels_of
from tests.server import call, get, named, post, request

Pictures = list[np.ndarray]


@functools.cache
def config(url: str) -> dict[str, Any]:
    return dict(json.loads(get(url, "/config")[1]))


def served_by(url: str) -> dict[str, str]:
    """What the footer says of the backend, and how that came about; "" before it did."""
    footer = next(each["id"] for each in config(url)["components"] if each["props"].get("elem_id") == "served-by")
    event = next(fn["id"] for fn in config(url)["dependencies"] if fn["outputs"] == [footer])
    status, body = post(url, "/gradio_api/run/predict", {"data": [], "fn_index": event}, seconds=PATIENCE)
    assert status == 200, body[:200]
    return dict(json.loads(body)["data"][0])


class QueueFullError(Exception):
    """The server has no place for another run; it says so at once."""


class OpenPage:
    """A page that has loaded; `close` is what a browser does when its window closes."""

    def __init__(self, url: str) -> None:
        self.url, self.session, self.serial = url, uuid.uuid4().hex[:10], 0
        props = {component["id"]: component["props"] for component in config(url)["components"]}
        switch = next(number for number, about in props.items() if about.get("elem_id") == "live")
        events = config(url)["dependencies"]
        self._live = next(fn for fn in events if [switch, "input"] in fn["targets"])
        self._values = {props[i]["elem_id"]: props[i].get("value") for i in self._live["inputs"]}
        self._heart = self._opened(f"/gradio_api/heartbeat/{self.session}")[0]
        arrive = next(fn["id"] for fn in events if fn["api_name"] == "arrive")
        body = {"data": [], "fn_index": arrive, "session_hash": self.session}
        status, answer = post(url, "/gradio_api/run/predict", body, seconds=PATIENCE)
        assert status == 200, f"HTTP {status}: {answer[:200]!r}"

    def close(self) -> None:
        self._heart.close()

    def move(self, values: dict[str, Any]) -> str:
        """Asks Live for the page's settings with these changed; the event's id."""
        self.serial += 1
        data = [values.get(name, value) for name, value in self._values.items()]
        body = {"data": data, "fn_index": self._live["id"], "session_hash": self.session, "event_data": {"serial": self.serial}}
        status, answer = post(self.url, "/gradio_api/queue/join", body, seconds=PATIENCE)
        if status == 503 and b"Queue is full" in answer:
            raise QueueFullError
        assert status == 200, f"HTTP {status}: {answer[:200]!r}"
        return str(json.loads(answer)["event_id"])

    def messages(self) -> Iterator[dict[str, Any]]:
        """What the server says of the runs under way until none is left; the connection breaks where the reader stops."""
        connection, answer = self._opened(f"/gradio_api/queue/data?session_hash={self.session}")
        try:
            for line in answer:
                if line.startswith(b"data: "):
                    message = json.loads(line[6:])
                    if message["msg"] == "close_stream":
                        return
                    yield message
        finally:
            connection.close()

    def _opened(self, path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
        connection.request("GET", where.path + path)
        return connection, connection.getresponse()


@dataclass
class Drag:
    """A slider of Compare that is dragged while Live is on; `alone` has the pictures of its last value to a single user."""

    values: list[dict[str, Any]]
    alone: Pictures

    def ask(self, url: str, mood: float, report: Report) -> bool:
        """Drags over the values in a page. In some moods the connection breaks, and the page is loaded anew, as a browser does."""
        page, began = OpenPage(url), time.monotonic()
        try:
            if mood < 0.3:
                page.move(self.values[0])
                for message in page.messages():
                    if message["msg"] == "process_generating":
                        break
                page.close()
                report.outcomes["Live: connection dropped, page loaded anew"] += 1
                page = OpenPage(url)
            stage = dragged(page, self.values)
        except QueueFullError:
            report.outcomes["Live: refused as the queue was full"] += 1
            return False
        finally:
            page.close()
        if stage is None:
            report.outcomes["Live: left to Run, as it takes too long"] += 1
            return True
        report.latencies.append(time.monotonic() - began)
        assert stage["serial"] == page.serial, "another value's answer"
        assert_same_pictures(finals(stage), self.alone)
        report.outcomes["Live: drags answered"] += 1
        report.outcomes["Live: values"] += len(self.values)
        return True


def dragged(page: OpenPage, values: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the stage shows after a drag over these values, the next of which goes out as soon as the one before shows something;
    None where Live leaves the last one to Run."""
    last, left = page.move(values[0]), values[1:]
    while True:
        for message in page.messages():
            assert message["msg"] != "unexpected_error", message
            is_last = message.get("event_id") == last
            if is_last and message["msg"] in ("process_generating", "process_completed") and left and "preview" in str(message):
                last, left = page.move(left[0]), left[1:]
            elif is_last and message["msg"] == "process_completed":
                assert message["success"], message
                switch, _, stage = message["output"]["data"][:3]
                if not left:
                    assert stage.get("complete") or "costly" in switch, switch
                    return stage if stage.get("complete") else None
                last, left = page.move(left[0]), left[1:]


def finals(stage: dict[str, Any]) -> Pictures:
    """The finished pictures of each arm."""
    newest = {frame["arm"]: frame for frame in stage["frames"]}
    encoded = [newest[arm]["x_t"].split(",")[1] for arm in sorted(newest)]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in encoded]


def drag(url: str, model: str, seed: int) -> Drag:
    """A drag over step counts, whose last one is answered alone."""
    values = [{"model": model, "steps": steps, "seed": seed, "pictures": 2, "precision": "fp32"} for steps in (12, 3, 9, 5)]
    page = OpenPage(url)
    stage = dragged(page, values[-1:])
    page.close()
    assert stage is not None, "too slow for Live"
    return Drag(values, finals(stage))


@dataclass
class Upload:
    """A picture that /invert takes up and down again; `alone` has what comes back to a single user."""

    picture: Image.Image
    values: dict[str, Any]
    alone: Pictures

    def ask(self, url: str, mood: float, report: Report) -> bool:
        began, salt = time.monotonic(), uuid.uuid4().hex  # another file each time, with the same pixels
        assert_same_pictures(inverted(url, self.picture, self.values, salt), self.alone)
        report.latencies.append(time.monotonic() - began)
        report.outcomes["uploads answered"] += 1
        return True


def upload(url: str, model: str, seed: int) -> Upload:
    """An upload of 400 x 400 pixels of noise, about 480 kB, that was answered alone."""
    pixels = np.random.default_rng(seed).integers(0, 256, (400, 400, 3), np.uint8)
    picture, values = Image.fromarray(pixels), {"model": model, "steps": 3, "method": "ddim-source", "precision": "fp32"}
    return Upload(picture, values, inverted(url, picture, values, "alone"))


def uploaded(url: str, data: bytes) -> dict[str, Any]:
    """The file as a run names it, after its upload."""
    head = b'--xxBOUNDARYxx\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=xxBOUNDARYxx"}
    body = head + data + b"\r\n--xxBOUNDARYxx--\r\n"
    status, answer = request(url, "POST", "/gradio_api/upload", body, kind, PATIENCE)
    assert status == 200, f"HTTP {status}: {answer[:200]!r}"
    return {"path": json.loads(answer)[0], "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}


def inverted(url: str, picture: Image.Image, values: dict[str, Any], salt: str) -> Pictures:
    """The pictures that /invert gives back for an uploaded one."""
    file = uploaded(url, png_bytes(picture, [("salt", salt)]))
    status, answered = call(url, "invert", named(url, "invert", picture=file, **values), PATIENCE)
    assert status == 200, f"HTTP {status}: {answered}"
    name, data = answered
    assert name == "complete", data
    return pixels_of(url, data[0])
