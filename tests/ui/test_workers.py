"""Two processes behind nginx, as docs/hosting.md says: every address keeps to one of them, and outlives its end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import load, toys
from tests.nginx import documented, nginx
from tests.server import SOURCE, Server, app, call, named

CLIENTS = 20


def runs(server: Server) -> int:
    return sum(line["event"] == "run" and line["model"] == "models/tiny" for line in server.log())


@pytest.mark.long
def test_twenty_addresses_on_two_processes(tmp_path: Path, tell: Callable[[str], None]) -> None:
    toys.save_tiny(tmp_path / "models" / "tiny")
    for name in ("one", "two", "nginx"):
        (tmp_path / name).mkdir()
    limits = [f"--max-{name}=1000000" for name in ("runs", "evaluations-per-minute", "address-evaluations-per-minute")]
    arguments = ("--models-dir", str(tmp_path / "models"), "--root-path", "/ddim", *limits)
    with (
        app(*arguments, GRADIO_TEMP_DIR=str(tmp_path / "one")) as one,
        app(*arguments, GRADIO_TEMP_DIR=str(tmp_path / "two")) as two,
    ):
        upstream = documented("More than one process")
        for server, port in ((one, 7861), (two, 7862)):
            upstream = upstream.replace(f"127.0.0.1:{port}", server.url.removeprefix("http://"))
        with nginx(tmp_path / "nginx", "http://ddim", upstream) as proxy:
            requests = load.wanted(proxy.url, "models/tiny")
            report = load.run(proxy.url, requests, CLIENTS, 60, sources=[f"127.0.0.{2 + i}" for i in range(CLIENTS)])
            shares = runs(one), runs(two)
            tell(f"{CLIENTS} clients on two processes, 60 s: {report.line()}; {shares[0]} and {shares[1]} runs")
            assert report.faults == []
            assert report.outcomes["answered"] >= CLIENTS
            assert min(shares) > 0
            one.end()
            for i in range(CLIENTS):
                SOURCE.set((f"127.0.0.{2 + i}", 0))
                data = named(proxy.url, "generate", model="models/tiny", steps=2)
                assert call(proxy.url, "generate", data, load.PATIENCE)[1][0] == "complete"
            SOURCE.set(None)
