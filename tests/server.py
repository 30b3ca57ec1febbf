"""The server as a process of its own, as `python app.py` starts it, and the few things that a test asks of it over HTTP."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent
SOURCE: ContextVar[tuple[str, int] | None] = ContextVar("source", default=None)
"""Where this thread's requests come from, an address of this machine and port 0; None leaves it to the system."""
HELD = """
import importlib.util, pathlib, sys, time
class Held:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            execute = spec.loader.exec_module
            def wait(module):
                while not pathlib.Path({gate!r}).exists():
                    time.sleep(0.02)
                execute(module)
            spec.loader.exec_module = wait
            return spec
sys.meta_path.insert(0, Held())
"""


class Server:
    """A running app.py; `lines` is what it has said so far, which `keep` holds too, for who looks while it runs."""

    def __init__(self, url: str, process: subprocess.Popen[str], keep: Path = Path(os.devnull)) -> None:
        self.url, self._keep = url, keep
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines, self._keep.open("w", buffering=1) as kept:
            for line in lines:
                self.lines.append(line)
                kept.write(line)

    def log(self) -> list[dict[str, Any]]:
        """Its log lines that are JSON."""
        entries = [re.search(r'"log":(\{.*\})\}$', line) for line in list(self.lines)]
        return [json.loads(entry[1]) for entry in entries if entry]

    def wait_until_warm(self, seconds: float = 120) -> None:
        """Waits for the two runs that a server makes by itself, which count among those under way."""
        limit = time.monotonic() + seconds
        while sum(line["event"] == "run" and line["model"] == "avatars-32" for line in self.log()) < 2:
            assert time.monotonic() < limit, "".join(self.lines)
            time.sleep(0.1)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self._reader.join(30)


@contextmanager
def app(
    *arguments: str,
    limit: int | None = None,
    before: str = "",
    until: str = "started",
    keep: Path = Path(os.devnull),
    **environment: str,
) -> Iterator[Server]:
    """`python app.py` with these arguments on a free port, once it has `started` or just "answers"; killed at the end if need be.

    `limit` bounds its address space, in bytes; `before` is Python that its process runs first; `keep` is a file for its log.
    """
    port = free_port()
    code = f"{before};" if before else ""
    code += f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}));" if limit else ""
    code += f"import sys, runpy; sys.argv = {['app.py', '--port', str(port), *arguments]!r};"
    code += "runpy.run_path('app.py', run_name='__main__')"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GRADIO_", "DDIM_", "SPACE"))}
    settings = {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    settings |= {"CUDA_VISIBLE_DEVICES": "", "DDIM_STORED_SETS": "0", **environment}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    server = Server(f"http://127.0.0.1:{port}", process, keep)
    try:
        limit_at = time.monotonic() + 120
        while True:
            assert process.poll() is None, "".join(server.lines)
            assert time.monotonic() < limit_at, "".join(server.lines)
            try:
                status, told = get(server.url, "/health")
                if status == 200 and (until == "answers" or json.loads(told)["status"] != "starting"):
                    break
            except OSError:
                pass
            time.sleep(0.1)
        yield server
    finally:
        server.end()


def held(gate: Path) -> str:
    """Code for a process whose imports of torch wait for a file."""
    return f"exec({HELD.format(gate=str(gate))!r})"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(
    url: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, seconds: float = 30
) -> tuple[int, bytes]:
    """(status, body) of one request; the path goes out as it is. Raises OSError, TimeoutError among them."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=seconds, source_address=SOURCE.get())
    try:
        connection.putrequest(method, where.path + path, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def get(url: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    return request(url, "GET", path, headers=headers)


def post(url: str, path: str, value: Any, headers: dict[str, str] | None = None, seconds: float = 30) -> tuple[int, bytes]:
    """Sends JSON, or bytes as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return request(url, "POST", path, body, {"Content-Type": "application/json", **(headers or {})}, seconds)


def drop(url: str, path: str, seconds: float = 30) -> None:
    """Opens a stream, and breaks the connection after its first line."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=seconds, source_address=SOURCE.get())
    try:
        connection.request("GET", where.path + path)
        connection.getresponse().readline()
    finally:
        connection.close()


def endpoints(url: str) -> dict[str, list[dict[str, Any]]]:
    """The parameters of every public endpoint, as the server describes them."""
    info = json.loads(get(url, "/gradio_api/info")[1])["named_endpoints"]
    return {name.lstrip("/"): endpoint["parameters"] for name, endpoint in info.items()}


def named(url: str, name: str, **values: Any) -> list[Any]:
    """The data of a call: these values, and the defaults of the others."""
    return [values.get(each["parameter_name"], each.get("parameter_default")) for each in endpoints(url)[name]]


def events(url: str, path: str, seconds: float = 60) -> list[tuple[str, Any]]:
    """The events of a stream, from its first to its last: (name, data)."""
    status, body = request(url, "GET", path, seconds=seconds)
    assert status == 200, body[:200]
    found = re.findall(r"event: (\S+)\ndata: (.*)\n\n", body.decode())
    return [(name, json.loads(data)) for name, data in found]


def has_words(event: tuple[str, Any]) -> bool:
    """Whether a stream's last event is an answer, or an error with a sentence; Gradio's own without one is {"error": null}."""
    name, data = event
    return name == "complete" or bool(data.get("error") if isinstance(data, dict) else data)


def call(
    url: str, name: str, data: list[Any] | bytes, seconds: float = 60, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """(status, last event) of an endpoint called by POST and event stream; what refuses the POST is the status' body."""
    status, body = post(url, f"/gradio_api/call/{name}", data if isinstance(data, bytes) else {"data": data}, headers, seconds)
    if status != 200:
        return status, body.decode("utf-8", "replace")
    return status, events(url, f"/gradio_api/call/{name}/{json.loads(body)['event_id']}", seconds)[-1]
