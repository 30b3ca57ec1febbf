"""Hostile inputs, by class: what a stranger may send to every endpoint and every upload of the page.

The endpoints and uploads are those that the running server describes, so a new one is tried without a change here.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddim_app.ui.hosting.gate import MAX_BODY
from tests.hostile_files import bombs, pickled, png, recipes
from tests.server import call, endpoints, get, post, request

Answer = tuple[int, str]
Do = Callable[[], Answer]


@dataclass(frozen=True)
class Case:
    """One hostile input: its class, what it is, how it is sent, and the HTTP status that it must get."""

    kind: str
    what: str
    send: Do
    status: int = 422
    """422 by a sentence of ours about the value; of a run that fails as well, whose own status is 200."""


class Target:
    """The server under attack, as it describes itself."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.endpoints = endpoints(url)
        config = json.loads(get(url, "/config")[1])
        self.components = {component["id"]: component for component in config["components"]}
        readers = [
            (fn, place)
            for fn in config["dependencies"]
            for place, component in enumerate(fn["inputs"])
            if self.components[component]["type"] in ("file", "image", "uploadbutton") and fn["backend_fn"]
        ]
        self.uploads = [(fn["id"], fn["inputs"], place) for fn, place in readers if not fn["queue"]]
        """(event, its inputs, which of them is an upload) for everything that reads a file at once."""
        self.runs = [(fn["id"], fn["inputs"], place) for fn, place in readers if fn["queue"]]
        """The same for runs, which read it when their turn comes."""
        self._files = 0

    @property
    def with_model(self) -> list[str]:
        """Endpoints that are told a model."""
        return [name for name, all_of in self.endpoints.items() if any(each["parameter_name"] == "model" for each in all_of)]

    def dealt(self, i: int) -> tuple[str, int]:
        """The i-th (endpoint, place of a parameter) when they are gone through in turn, all endpoints first."""
        name = list(self.endpoints)[i % len(self.endpoints)]
        return name, (i // len(self.endpoints) * 5 + i) % len(self.endpoints[name])

    def parameter(self, name: str, place: int) -> str:
        return str(self.endpoints[name][place]["parameter_name"])

    def values(self, name: str, **values: Any) -> list[Any]:
        usual = {"steps": 1, "pictures": 1, "model": "tiny"}
        chosen = {**usual, **values}
        return [chosen.get(each["parameter_name"], each.get("parameter_default")) for each in self.endpoints[name]]

    def call(self, name: str, data: Any) -> Answer:
        status, event = call(self.url, name, data, seconds=20)
        return status, event if isinstance(event, str) else json.dumps(event)

    def with_value(self, name: str, place: int, value: Any) -> Answer:
        data = self.values(name)
        data[place] = value
        return self.call(name, data)

    def raw(self, name: str, text: str, place: int = 0) -> Answer:
        """A body that is no proper JSON, such as one with NaN in place of a value."""
        parts = [json.dumps(value) for value in self.values(name)]
        parts[place] = text
        return self.call(name, ('{"data": [' + ", ".join(parts) + "]}").encode())

    def get(self, path: str) -> Answer:
        status, body = get(self.url, path)
        return status, body.decode("utf-8", "replace")

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        status, answer = post(self.url, path, body, headers, 20)
        return status, answer.decode("utf-8", "replace")

    def upload(self, name: str, content: bytes) -> Answer:
        """Uploads a file, and has every event that takes one at once read it, and a run: the next one of them in turn."""
        boundary = "xxBOUNDARYxx"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
        body = head + content + f"\r\n--{boundary}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, answer = request(self.url, "POST", "/gradio_api/upload", body, kind)
        if status != 200:
            return status, answer.decode("utf-8", "replace")
        path = json.loads(answer)[0]
        said = [self.read_upload(event, inputs, place, path, name) for event, inputs, place in self.uploads]
        if self.runs:
            said.append(self.run_with(*self.runs[self._files % len(self.runs)], path, name))
            self._files += 1
        return max((code for code, _ in said), default=status), " | ".join(text for _, text in said)

    def _read(self, event: int, inputs: list[int], place: int, path: str, name: str, session: str) -> dict[str, Any]:
        """The body of an event's request in which one input is an uploaded file, and the others are as the page has them."""
        data = [self.components[component]["props"].get("value") for component in inputs]
        data[place] = {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        return {"data": data, "fn_index": event, "session_hash": session, "trigger_id": None, "event_data": None}

    def run_with(self, event: int, inputs: list[int], place: int, path: str, name: str = "x.png") -> Answer:
        """Has a run read an uploaded file; 422 where it says that it cannot."""
        session = f"hostile{self._files}"
        body = self._read(event, inputs, place, path, name, session)
        status, answer = post(self.url, "/gradio_api/queue/join", body, seconds=20)
        if status != 200:
            return status, answer.decode("utf-8", "replace")[:2000]
        status, stream = request(self.url, "GET", f"/gradio_api/queue/data?session_hash={session}", seconds=60)
        messages = [json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: ")]
        last = next(message for message in messages if message["msg"] == "process_completed")
        if last["success"]:
            return status, "a result"
        return (422 if last["output"].get("error") else 500), json.dumps(last["output"])[:2000]

    def read_upload(self, event: int, inputs: list[int], place: int, path: str, name: str = "x.png") -> Answer:
        body = self._read(event, inputs, place, path, name, "hostile")
        status, answer = post(self.url, "/gradio_api/run/predict", body, seconds=20)
        text = answer.decode("utf-8", "replace")
        in_words = status == 500 and bool(json.loads(text).get("error"))  # how gradio sends a sentence of ours
        return 422 if in_words else status, text[:2000]


def corpus(target: Target, folder: Path, canary: str) -> Iterator[Case]:
    """All cases. `folder` is for marks that nothing may leave, `canary` an address that nothing may ask."""
    yield from _bodies(target)
    yield from _values(target)
    yield from _paths(target, folder)
    yield from _addresses(target, canary)
    yield from _files(target, folder)
    yield from _markup(target)


def _values(target: Target) -> Iterator[Case]:
    """Values of every kind, dealt in turn to the parameters of every endpoint."""
    classes: dict[str, list[Any]] = {
        "wrong type": [
            None,
            True,
            [],
            {},
            [1, [2]],
            {"a": {"b": 1}},
            "",
            "x",
            3.7,
            -1,
            [None] * 100,
            {"__type__": "update", "value": 9},
        ],
        "huge number": [2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40, 1e308, -1e308, 10**300, 1e-320],
        "long text": [
            letter * (10_000_000 // len(letter.encode()))
            for letter in ("x", "0", "9", " ", "\n", "é", "雪", "\0", "[", "{", "'", "\\")
        ],
    }
    for number, (kind, values) in enumerate(classes.items()):
        for i, value in enumerate(values):
            name, place = target.dealt(number + i)
            what = f"{name}.{target.parameter(name, place)} = {type(value).__name__} {str(value)[:20]!r}"
            too_long = len(json.dumps(value)) > MAX_BODY
            yield Case(
                kind, what, lambda name=name, place=place, value=value: target.with_value(name, place, value),
                413 if too_long else 422,
            )  # fmt: skip
    odd = [
        "NaN",
        "-NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        '"NaN"',
        '"inf"',
        "[NaN]",
        '{"a": Infinity}',
        "1e400",
        '"nan"',
    ]
    for i, text in enumerate(odd):
        name, place = target.dealt(i)
        what = f"{name}.{target.parameter(name, place)} = {text}"
        yield Case("NaN and infinities", what, lambda name=name, text=text, place=place: target.raw(name, text, place))


def _bodies(target: Target) -> Iterator[Case]:
    names = list(target.endpoints)
    whole = json.dumps({"data": target.values(names[0])}).encode()
    for part in range(12):
        cut = whole[: len(whole) * part // 12]
        yield Case("truncated body", f"{len(cut)} of {len(whole)} bytes", lambda cut=cut: target.call(names[0], cut))
    shapes: list[tuple[str, str, int]] = [
        (f"{depth:,} {word}", opening * depth + "1" + closing * depth, 422 if depth == 500 else 400)
        for depth in (500, 5_000, 50_000, 500_000)
        for word, opening, closing in (("lists", "[", "]"), ("objects", '{"a":', "}"), ("lists left open", "[", ""))
    ]
    for i, (what, text, status) in enumerate(shapes):
        name = names[i % len(names)]
        yield Case("deep JSON", what, lambda name=name, text=text: target.raw(name, text), status)
    odd: list[tuple[str, bytes, int]] = [
        ("nothing", b"", 422),
        ("a number", b"7", 422),
        ("a list", b"[]", 422),
        ("null", b"null", 422),
        ("data is text", b'{"data": "x"}', 422),
        ("data is an object", b'{"data": {"0": 1}}', 422),
        ("no data", b'{"dat": []}', 422),
        ("too few values", b'{"data": [1]}', 400),
        ("too many values", json.dumps({"data": [1] * 10_000}).encode(), 400),
        ("UTF-16", whole.decode().encode("utf-16"), 400),
        ("a lone surrogate", b'{"data": ["\\ud800"]}', 400),
        ("bytes of no text", bytes(range(256)), 422),
    ]
    for what, body, status in odd:
        yield Case("wrong body", what, lambda body=body: target.call(names[-1], body), status)
    for what, path, statuses in [
        ("an unknown endpoint", "/gradio_api/call/nothing", (400, 400, 400)),
        ("an unknown event", "/gradio_api/queue/join", (400, 400, 422)),
        ("a function by number", "/gradio_api/run/predict", (400, 400, 422)),
        ("a function without a name", "/gradio_api/call/lambda", (200, 200, 200)),  # whose event does nothing
    ]:
        for index, status in zip((-1, 10**9, "x"), statuses, strict=True):
            function = {"data": [], "fn_index": index, "session_hash": "hostile"}
            send = lambda path=path, function=function: target.post(path, function)  # noqa: E731
            yield Case("unknown function", f"{what}, {index}", send, status)


def _paths(target: Target, folder: Path) -> Iterator[Case]:
    secret = folder / "secret.txt"
    secret.write_text("SECRET-OF-THE-HOST")
    climbs = [
        "../../../../etc/passwd",
        "/etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//....//etc/passwd",
        str(secret),
        "app.py",
        "./app.py",
        "weights/avatars-32/unet/config.json",
        "/proc/self/environ",
        "file:///etc/passwd",
        "..\\..\\windows\\win.ini",
        "/dev/zero",
        "requirements.txt",
        "~/.bashrc",
        "\u0000/etc/passwd",
    ]
    for i, path in enumerate(climbs):
        quoted = path.replace("\u0000", "%00").replace("\\", "%5c")
        yield Case("path traversal", f"file={path!r}", lambda quoted=quoted: target.get(f"/gradio_api/file={quoted}"), 403)
        name = target.with_model[i % len(target.with_model)]
        yield Case(
            "path traversal",
            f"{name}.model = {path!r}",
            lambda name=name, path=path: target.call(name, target.values(name, model=path)),
        )
        for event, inputs, place in target.uploads[i % len(target.uploads) :: len(climbs)]:
            yield Case(
                "path traversal",
                f"upload {event}.{place} = {path!r}",
                lambda event=event, inputs=inputs, place=place, path=path: target.read_upload(event, inputs, place, path),
                400,
            )
    for part, status in {"static": 403, "assets": 403, "theme.css": 404, "custom_component/1/client/component": 404}.items():
        yield Case("path traversal", f"/{part}/../", lambda part=part: target.get(f"/{part}/..%2f..%2f..%2fapp.py"), status)


def _addresses(target: Target, canary: str) -> Iterator[Case]:
    odd = [
        canary,
        canary.replace("127.0.0.1", "localhost"),
        canary.replace("http:", "HTTP:"),
        canary.replace("127.0.0.1", "0x7f000001"),
        canary.replace("127.0.0.1", "2130706433"),
        canary.replace("//", "//a@"),
        "http://169.254.169.254/latest/meta-data/",
        "gopher://127.0.0.1:1/",
        "ftp://127.0.0.1/x",
        "//127.0.0.1/x",
        f"{canary}#.png",
        "data:text/html,<script>1</script>",
    ]
    for i, address in enumerate(odd):
        yield Case("SSRF", f"file={address}", lambda address=address: target.get(f"/gradio_api/file={address}"), 403)
        yield Case("SSRF", f"proxy={address}", lambda address=address: target.get(f"/gradio_api/proxy={address}"), 400)
        name = target.with_model[i % len(target.with_model)]
        yield Case(
            "SSRF",
            f"{name}.model = {address}",
            lambda name=name, address=address: target.call(name, target.values(name, model=address)),
        )
        data = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
        yield Case("SSRF", f"{name} with a file of {address}", lambda name=name, data=data: target.with_value(name, 0, data), 400)
        for event, inputs, place in target.uploads[i % len(target.uploads) :: len(odd)]:
            yield Case(
                "SSRF",
                f"upload {event}.{place} = {address}",
                lambda event=event, inputs=inputs, place=place, address=address: target.read_upload(event, inputs, place, address),
                422
                if address.startswith("http:")
                else 400,  # what Gradio takes for an address, and for a path that was not uploaded
            )


def _files(target: Target, folder: Path) -> Iterator[Case]:
    for what, name, content in bombs():
        status = {"a file of 12 MB": 413, "5,000 texts in a PNG": 200}.get(what, 422)
        yield Case("bomb", what, lambda name=name, content=content: target.upload(name, content), status)
    picture = png({"ddim_recipe": "{}"})
    for part in range(1, 13):
        cut = picture[: len(picture) * part // 13]
        status = 422 if part < 11 else 200  # the last of its bytes are the mark of its end, which a reader can do without
        what = f"{len(cut)} of {len(picture)} bytes of a PNG"
        yield Case("truncated file", what, lambda cut=cut: target.upload("cut.png", cut), status)
    danger = pickled(folder / "mark")
    for name in (
        "a.png",
        "a.jpg",
        "a.webp",
        "a.gif",
        "a.bmp",
        "a.tiff",
        "a.safetensors",
        "a.json",
        "a.pt",
        "a.bin",
        "a.pkl",
        "../a.png",
    ):
        yield Case("renamed pickle", name, lambda name=name: target.upload(name, danger))
    for what, text in recipes():
        yield Case("recipe in a PNG", what, lambda text=text: target.upload("a.png", png({"ddim_recipe": text})), 200)


def _markup(target: Target) -> Iterator[Case]:
    texts = [
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "${7*7}",
        "'; DROP TABLE runs; --",
        "$(touch mark)",
        "`touch mark`",
        "%s%s%n",
        "\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "<svg/onload=alert(1)>",
        "\u202egnp.exe",
    ]
    for i, text in enumerate(texts):
        name, place = target.dealt(i)
        what = f"{name}.{target.parameter(name, place)} = {text!r}"
        yield Case("markup and commands", what, lambda name=name, place=place, text=text: target.with_value(name, place, text))
