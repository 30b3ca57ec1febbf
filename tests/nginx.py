"""Debian's nginx in front of a server, with the lines that docs/hosting.md gives; it can be ended and started again."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server import ROOT, free_port, get
from tests.wire import wait_for

PATIENCE = 120


class Nginx:
    """A running nginx; its configuration stands in `folder`. `path` is one that answers once it is up."""

    def __init__(self, binary: str, folder: Path, port: int, path: str) -> None:
        self.url = f"http://127.0.0.1:{port}{path}"
        self._command = [binary, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        self._errors = folder / "error.log"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        wait_for(self._answers, PATIENCE)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._errors.read_text()
        try:
            return get(self.url, "/health")[0] == 200
        except OSError:
            return False


def documented(heading: str) -> str:
    """The nginx lines under a heading of docs/hosting.md."""
    return (ROOT / "docs" / "hosting.md").read_text("utf-8").split(f"\n## {heading}\n")[1].split("```nginx\n")[1].split("```")[0]


@contextmanager
def nginx(folder: Path, server: str, path: str, before: str = "") -> Iterator[Nginx]:
    """nginx with these lines of a server's block, and with those that stand `before` it; without nginx, skips, or fails in
    continuous integration."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        reason = "no nginx: install Debian's `nginx-light`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    port = free_port()
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; error_log {folder}/error.log; daemon off; user root; events {{}}"
        f"http {{ access_log off; {temporary} {before} server {{ listen 127.0.0.1:{port}; {server} }} }}"
    )
    running = Nginx(binary, folder, port, path)
    try:
        yield running
    finally:
        running.stop()
