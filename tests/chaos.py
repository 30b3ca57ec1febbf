"""`python -m tests.chaos --minutes 30`: what befalls a server, at random, and whether the next visitor's run is right, bit for bit.

A visitor has a run under way each time, which may be made or told of in a sentence. The server stands behind nginx. Its folder
of pictures is a tmpfs of its own, which only root may mount: without that right two kinds of events are left out.
"""

import argparse
import contextlib
import http.client
import json
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests import toys
from tests.nginx import Nginx, nginx
from tests.server import Server, app, call, get, has_words, named
from tests.wire import wait_for

ARTIFACTS = Path(__file__).parent / "artifacts"
PATIENCE = 300
BIG: dict[str, Any] = {"model": "avatars-32", "steps": 2, "pictures": 16, "bucket": 256, "precision": "fp64"}
"""A run that needs more memory than a squeezed server may take: what a layer makes of 256 rows is 67 MB in one piece."""


@dataclass
class Stand:
    """A server under attack, the proxy before it, and the runs that are known to be right."""

    server: Server
    proxy: Nginx
    folder: Path
    seed: int = 0
    """Of the weights in the folder of the model `tiny`."""
    right: dict[int, list[bytes]] = field(default_factory=dict)
    """The pictures of the run that is compared, by those weights."""

    def ask(self, **values: Any) -> tuple[int, Any]:
        known = {"model": "models/tiny", "steps": 5, "pictures": 2, "bucket": 2, "precision": "fp32"}
        url = self.proxy.url
        return call(url, "generate", named(url, "generate", **known | values), PATIENCE)

    def pictures(self) -> list[bytes]:
        """The pictures of the run that is compared; fails when it is not made."""
        status, answer = self.ask()
        assert status == 200, answer
        assert answer[0] == "complete", answer
        return [get(self.proxy.url, f"/gradio_api/file={entry['image']['path']}")[1] for entry in answer[1][0]]

    @property
    def running(self) -> int:
        return int(json.loads(get(self.server.url, "/health")[1])["running"])

    @property
    def deaths(self) -> int:
        """How often the loop's thread has said that it was ended."""
        return sum("the batch loop failed" in line for line in self.server.lines)

    @contextlib.contextmanager
    def limited(self, kind: int, amount: int) -> Iterator[None]:
        """The server's process under a limit of the operating system's."""
        process = self.server.process.pid
        before = resource.prlimit(process, kind)
        resource.prlimit(process, kind, (amount, before[1]))
        try:
            yield
        finally:
            resource.prlimit(process, kind, before)


def proxy_restarts(stand: Stand) -> None:
    stand.proxy.stop()
    stand.proxy.start()


def folder_fills(stand: Stand) -> None:
    """While it is full another visitor asks."""
    full = stand.folder / "temp" / "full"
    with contextlib.suppress(OSError), full.open("wb") as file:
        while True:
            file.write(bytes(100_000))
    status, sentence = stand.ask(seed=random.randrange(10**6))
    full.unlink()
    assert status == 422, sentence
    assert "no room left for pictures" in sentence


def disk_is_read_only(stand: Stand) -> None:
    """While it is, another visitor asks."""
    remount(stand.folder / "temp", "ro")
    status, sentence = stand.ask(seed=random.randrange(10**6))
    remount(stand.folder / "temp", "rw")
    assert status == 422, sentence
    assert "no room left for pictures" in sentence


def model_is_replaced(stand: Stand) -> None:
    stand.seed = 1 - stand.seed
    place = stand.folder / "models" / "tiny"
    other = toys.save_tiny(stand.folder / "other", seed=stand.seed)
    place.rename(stand.folder / "gone")
    other.rename(place)
    shutil.rmtree(stand.folder / "gone")


def clock_jumps(stand: Stand) -> None:
    stand.server.process.send_signal(signal.SIGUSR2)


def loop_dies(stand: Stand) -> None:
    """Its thread learns of it in the run under way, else in that of another visitor, for which it wakes; an errand takes it for
    its own, so it may take several signals."""
    before = stand.deaths
    while stand.deaths == before:
        stand.server.process.send_signal(signal.SIGUSR1)
        stand.ask(steps=20, seed=random.randrange(10**6))


def memory_is_squeezed(stand: Stand) -> None:
    """While it is, another visitor asks for a run that does not fit."""
    now = psutil.Process(stand.server.process.pid).memory_info().vms
    with stand.limited(resource.RLIMIT_AS, now + 40_000_000):
        status, answer = stand.ask(**BIG)
    assert (status, answer[0]) == (200, "error"), answer
    assert "out of memory: take fewer pictures or a smaller batch" in answer[1]["error"], answer


EVENTS: dict[str, Callable[[Stand], None]] = {
    "the proxy restarts": proxy_restarts,
    "the folder of pictures is full": folder_fills,
    "the disk is read-only": disk_is_read_only,
    "a model is replaced by another of its name": model_is_replaced,
    "the clock jumps a day back or ahead": clock_jumps,
    "the loop's thread is ended": loop_dies,
    "memory is limited to 40 MB more": memory_is_squeezed,
}
NEED_MOUNT = {"the folder of pictures is full", "the disk is read-only"}


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[bool]:
    """A file system of 20 MB at the folder; whether there is one."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)], capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass
class Row:
    """What is known of one kind of event."""

    times: int = 0
    visitors: Counter[str] = field(default_factory=Counter)
    """What became of the runs that were under way."""
    right: int = 0
    """How many times the next visitor's run was the same, bit for bit."""
    wrong: list[str] = field(default_factory=list)


def chaos(folder: Path, seconds: float, keep: Path, seed: int = 0) -> dict[str, Row]:
    """What became of each kind of event, each of which happens once before they happen at random; `keep` is for its log."""
    choose, until = random.Random(seed), time.monotonic() + seconds
    toys.save_tiny(folder / "models" / "tiny")
    toys.save_tiny(folder / "both" / "tiny", seed=1)
    (folder / "nginx").mkdir()
    with mounted(folder / "temp") as has_disk:
        before = "from tests import chaos_hooks; chaos_hooks.install()"
        limits = [f"--max-{name}=1000000" for name in ("runs", "evaluations-per-minute", "address-evaluations-per-minute")]
        arguments = ("--models-dir", str(folder / "models"), "--root-path", "/ddim", *limits)
        with (
            app(*arguments, before=before, keep=keep, GRADIO_TEMP_DIR=str(folder / "temp")) as server,
            nginx(folder / "nginx", server.url) as proxy,
        ):
            server.wait_until_warm(600)
            stand = Stand(server, proxy, folder)
            for _ in range(2):
                stand.right[stand.seed] = stand.pictures()
                model_is_replaced(stand)
            kinds = [name for name in EVENTS if has_disk or name not in NEED_MOUNT]
            rows = {name: Row() for name in kinds}
            first = choose.sample(kinds, len(kinds))
            while first or time.monotonic() < until:
                name = first.pop() if first else choose.choice(kinds)
                happen(stand, name, rows[name])
            return rows


def happen(stand: Stand, name: str, row: Row) -> None:
    """One event in the middle of a visitor's run, and the next visitor's run."""
    seen: list[str] = []
    visitor = threading.Thread(target=lambda: seen.append(visit(stand)))
    visitor.start()
    with contextlib.suppress(AssertionError):  # a run that is over already, or was refused
        wait_for(lambda: stand.running > 0 or not visitor.is_alive(), PATIENCE)
    row.times += 1
    try:
        EVENTS[name](stand)
        wrong = "" if stand.pictures() == stand.right[stand.seed] else "other bits"
    except (AssertionError, OSError, http.client.HTTPException) as error:
        wrong = f"{type(error).__name__}: {str(error)[:300]}"
    row.right += not wrong
    row.wrong += [f"{name}: {wrong}"] if wrong else []
    visitor.join(2 * PATIENCE)
    row.visitors[seen[0] if seen else "never answered"] += 1
    print(time.strftime("%H:%M:%S"), f"{name}: {seen}, {wrong or 'right'}", flush=True)


def visit(stand: Stand) -> str:
    """What a visitor sees of a run of 300 steps."""
    try:
        status, answer = stand.ask(steps=300, seed=random.randrange(10**6))
    except (OSError, http.client.HTTPException, IndexError, ValueError):  # the stream was cut
        return "connection lost"
    if (status, answer[0]) == (200, "complete"):
        return "made"
    return "told in a sentence" if status != 200 or has_words(answer) else "an error without a word"


def table(rows: dict[str, Row]) -> str:
    lines = ["| event | times | the run under way | the next visitor's run, bit for bit |", "| --- | --- | --- | --- |"]
    for name, row in rows.items():
        became = ", ".join(f"{count} {word}" for word, count in row.visitors.most_common())
        lines.append(
            f"| {name} | {row.times} | {became} | {row.right} right{'' if not row.wrong else f', {len(row.wrong)} wrong'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="What befalls a server, at random.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ARTIFACTS, help="folder of the server's log (default: tests/artifacts)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    keep = arguments.output / "chaos.log"
    with tempfile.TemporaryDirectory() as folder:
        rows = chaos(Path(folder), arguments.minutes * 60, keep, arguments.seed)
    print(table(rows))
    print(f"{sum(row.times for row in rows.values())} events in {arguments.minutes:g} minutes")
    print("\n".join(sorted({wrong for row in rows.values() for wrong in row.wrong})))
    print("tracebacks in the log:", dict(tracebacks(keep.read_text().splitlines())))


def tracebacks(log: list[str]) -> Counter[str]:
    """The exceptions whose tracebacks a server has written, in its lines of JSON or bare."""
    found, is_open = Counter[str](), False
    for line in log:
        if "Traceback" in line and line.startswith("{"):
            found[json.loads(line)["log"]["trace"].split("\n")[-1][:100]] += 1
        elif "Traceback" in line:
            is_open = True
        elif is_open and line.strip() and not line.startswith(" "):
            found[line.strip()[:100]] += 1
            is_open = False
    return found


if __name__ == "__main__":
    main()
