"""Each kind of event of `python -m tests.chaos` once, and right runs after all of them."""

from collections.abc import Callable
from pathlib import Path

from tests.chaos import chaos, table, tracebacks

EXPECTED = (
    "SystemExit",
    "RuntimeError: can't start new thread",
    "RuntimeError: [enforce fail at alloc_cpu",
    "MemoryError",
    "gradio.exceptions.ComponentProcessingError",
)
"""What ends the loop's thread, and what a server says that has no memory left."""
UNDISTURBED = {"the clock jumps a day back or ahead", "a model is replaced by another of its name"}
"""Events that a run under way does not notice."""


def test_each_kind_of_event_once(tmp_path: Path, tell: Callable[[str], None]) -> None:
    rows = chaos(tmp_path, seconds=0, keep=tmp_path / "log")
    tell(table(rows))
    for name, row in rows.items():
        assert (row.times, row.right, row.wrong) == (1, 1, []), name
        assert name not in UNDISTURBED or row.visitors.keys() == {"made"}, name
        assert row.visitors.keys() <= {"made", "told in a sentence", "connection lost"}, name
        assert "connection lost" not in row.visitors or name == "the proxy restarts"
    log = (tmp_path / "log").read_text().splitlines()
    assert [trace for trace in tracebacks(log) if not trace.startswith(EXPECTED)] == []
