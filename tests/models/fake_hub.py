"""A Hugging Face Hub on this machine: serves folders as repositories over HTTP, to the real client library."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

CHUNK = 4_000_000
"""Bytes that are sent at a time."""
LARGE = (".safetensors", ".bin", ".pt")
"""Files that are held by Git LFS."""


class FakeHub:
    """Repositories by name, or by name@revision, each a folder. `gated` and `private` ones are given to a token alone."""

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.gated: set[str] = set()
        self.private: set[str] = set()
        self.requests: list[str] = []
        """METHOD file, or METHOD api, of each request."""
        self.tokens: set[str | None] = set()
        self.cut: int | None = None
        """Ends the connection after so many bytes of a large file, in all."""
        self.spoil = False
        """Serves large files with a wrong byte."""
        self.ranges: list[str] = []
        """Range headers of the requests for large files."""
        self.pause = 0.0
        """Seconds between two chunks of a large file."""
        self.address = ""

    def fetched(self, ends: tuple[str, ...] = LARGE) -> list[str]:
        """Files that were asked for, of those that end so."""
        return [request.removeprefix("GET ") for request in self.requests if request.startswith("GET ") and request.endswith(ends)]

    def folder(self, name: str, revision: str) -> tuple[Path, str] | None:
        """(folder, commit) of a revision."""
        wanted = name if revision == "main" else f"{name}@{revision}"
        for known, folder in self.repositories.items():
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            commit = hashlib.sha1("".join(map(etag, files)).encode()).hexdigest()
            if known == wanted or (revision == commit and known.split("@")[0] == name):
                return folder, commit
        return None


def handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.tokens.add(self.headers.get("Authorization"))
            api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
            if api:
                hub.requests.append(f"{self.command} api")
                return self.listing(api[1], api[2] or "main")
            resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/(refs/\w+/[^/]+|[^/]+)/(.+)", path)
            if resolve is None:
                return self.answer(404, {})
            hub.requests.append(f"{self.command} {resolve[3]}")
            return self.file(*resolve.groups())

        def refused(self, name: str, *, lists: bool) -> bool:
            """Answers as the Hub does for what is not there, private, or gated; a gated model is listed all the same."""
            given = self.headers.get("Authorization") is not None
            if name in hub.private and not given:
                self.answer(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
            elif name in hub.gated and not given and not lists:
                self.answer(403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted"})
            elif not any(known.split("@")[0] == name for known in hub.repositories):
                self.answer(404, {"X-Error-Code": "RepoNotFound"})
            else:
                return False
            return True

        def listing(self, name: str, revision: str) -> None:
            if self.refused(name, lists=True):
                return None
            found = hub.folder(name, revision)
            if found is None:
                return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
            folder, commit = found
            files = []
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                about = {"rfilename": path.relative_to(folder).as_posix(), "size": path.stat().st_size, "blobId": etag(path)}
                if is_large(path):
                    about["lfs"] = {"sha256": etag(path), "size": path.stat().st_size, "pointerSize": 134}
                files.append(about)
            body = json.dumps({"id": name, "modelId": name, "sha": commit, "private": False, "siblings": files}).encode()
            return self.answer(200, {"Content-Type": "application/json"}, body)

        def file(self, name: str, revision: str, file: str) -> None:
            if self.refused(name, lists=False):
                return None
            found = hub.folder(name, revision)
            if found is None:
                return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
            folder, commit = found
            path = folder / file
            if not path.is_file():
                return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            size = path.stat().st_size
            headers = {"ETag": f'"{etag(path)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(asked[1]) if asked else 0
            if asked:
                headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
                hub.ranges += [asked[0]] if is_large(path) else []
            self.start(206 if asked else 200, headers, size - start)
            if self.command != "HEAD":
                self.send(path, start, size)
            return None

        def send(self, path: Path, start: int, size: int) -> None:
            """Sends a file from that byte on, a large one as slowly and as wrongly as it is to be."""
            end = size
            if is_large(path) and hub.cut is not None:
                self.close_connection, end = True, max(start, min(size, hub.cut))
            with path.open("rb") as file:
                file.seek(start)
                for place in range(start, end, CHUNK):
                    data = file.read(min(CHUNK, end - place))
                    if hub.spoil and is_large(path):
                        data = data[:-1] + bytes([data[-1] ^ 255])
                    self.wfile.write(data)
                    if hub.pause and is_large(path):
                        threading.Event().wait(hub.pause)

        def answer(self, code: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.start(code, headers, len(body))
            if self.command != "HEAD":
                self.wfile.write(body)

        def start(self, code: int, headers: dict[str, str], length: int) -> None:
            self.send_response(code)
            for name, value in {**headers, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()

    return Handler


def is_large(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix in LARGE and file.read(8) != b"version "


def etag(path: Path) -> str:
    about = path.stat()
    return _sha256(path, about.st_mtime_ns, about.st_size)


@cache
def _sha256(path: Path, _time: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def serving() -> Iterator[FakeHub]:
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reach(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Sends the client library to that Hub, with an empty cache."""
    from huggingface_hub import constants  # here, since conftest must set the environment before this import

    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    monkeypatch.delenv("HF_TOKEN", raising=False)
