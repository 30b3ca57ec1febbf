"""What all tests share: no network, one thread for the arithmetic, and property tests that try the same examples every time."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import torch

from tests import toys
from tests.models.fake_hub import FakeHub, reach, serving
from tests.server import Server, app, held

if TYPE_CHECKING:
    from ddim_app.engine import Engine

FILES = tempfile.TemporaryDirectory(prefix="ddim-explorer-tests-")
os.environ["GRADIO_TEMP_DIR"] = FILES.name  # whose oldest files the page deletes
os.environ["DDIM_CACHE"] = os.path.join(FILES.name, "cache")  # so that what a test converts is not kept
os.environ["GRADIO_SERVER_PORT"] = str(10_000 + 100 * (os.getpid() % 150))  # a hundred ports that no other process of tests tries
os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported, which no import above does
torch.set_num_threads(1)
# Deadlines and the too_slow check look at the clock, and the machine may be busy.
hypothesis.settings.register_profile(
    "suite", deadline=None, derandomize=True, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Says something that is read at the end of the report."""
    return lambda text: record_property("told", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        for name, text in getattr(report, "user_properties", ()):
            if name == "told" and report.when == "call":
                terminalreporter.write_line(f"\n{report.nodeid}\n{text}")


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that holds one, `tiny`: random weights, RGB, 8 x 8 pixels. Not to be written to."""
    root = tmp_path_factory.mktemp("models")
    toys.save_tiny(root / "tiny")
    return root


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that the imports of torch wait for in the server of `starting`."""
    return tmp_path / "gate"


@pytest.fixture
def starting(gate: Path) -> Iterator[Server]:
    with app("--no-hub", before=held(gate), until="answers") as server:
        yield server


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A Hub of folders, and an empty cache of the Hub's library."""
    from huggingface_hub.utils import close_session

    with serving() as hub:
        reach(hub, monkeypatch, tmp_path / "hub-cache")
        yield hub
        close_session()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> "Engine":
    """An engine of tiny models that differ in weights, size, schedule and last level, where a folder or file has no other."""
    from ddim_app.engine import Engine

    root = tmp_path_factory.mktemp("models")
    toys.save_tiny(root / "a")
    toys.save_tiny(root / "b", seed=3)
    toys.save_tiny(root / "small", sample_size=4)
    toys.save_tiny(root / "other", scheduler={"beta_schedule": "squaredcos_cap_v2"})
    toys.save_tiny(root / "zero-snr", scheduler={"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"})
    return Engine([root], allow_hub=False, device=torch.device("cpu"))
