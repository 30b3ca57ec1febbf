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
    """A running nginx; its configuration stands in `folder`. `url` is where the page is behind it."""

    def __init__(self, binary: str, folder: Path, url: str) -> None:
        self.url = url
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
def nginx(folder: Path, upstream: str, before: str = "", **settings: str) -> Iterator[Nginx]:
    """nginx with docs/hosting.md's lines for a sub-path, of which `settings` change some, and with lines that stand `before` its
    server's block. Without nginx it skips, or fails in continuous integration."""
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        reason = "no nginx: install Debian's `nginx-light`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    lines = documented("Behind nginx, under a path").replace("http://127.0.0.1:7860", upstream)
    for name, value in settings.items():
        line = next(line for line in lines.splitlines() if line.split()[:1] == [name])
        lines = lines.replace(line, f"{name} {value};")
    port = free_port()
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; error_log {folder}/error.log; daemon off; user root; events {{}}"
        f"http {{ access_log off; {temporary} {before} server {{ listen 127.0.0.1:{port}; {lines} }} }}"
    )
    running = Nginx(binary, folder, f"http://127.0.0.1:{port}/ddim")
    try:
        yield running
    finally:
        running.stop()
