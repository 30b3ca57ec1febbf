"""What a server on the internet lives through: a full disk, too little memory, models that vanish, a worker that dies."""

import json
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image

from ddim_app import backends
from ddim_app.engine import Engine
from ddim_app.engine.limits import Budget
from ddim_app.errors import RunError
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui.uploads import GONE
from tests import toys
from tests.image_files import encoded
from tests.open_page import uploaded
from tests.server import Server, app, call, get, named, post
from tests.wire import Brake, served, wait_for

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process can only be set on Linux")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    root = tmp_path_factory.mktemp("models")
    toys.save_tiny(root / "tiny")
    toys.save_tiny(root / "going", seed=1)
    with app("--models-dir", str(root), GRADIO_TEMP_DIR=str(tmp_path_factory.mktemp("temp"))) as server:
        yield server, root


def ask(server: tuple[Server, Path], model: str = "tiny", **values: Any) -> tuple[int, Any]:
    running, root = server
    data = named(running.url, "generate", model=f"{root.name}/{model}", **{"steps": 3, "pictures": 2, **values})
    return call(running.url, "generate", data, 120)


@pytest.mark.parametrize(("name", "field"), [("invert", "picture"), ("interpolate", "end_a")])
def test_an_upload_whose_file_is_gone(server: tuple[Server, Path], name: str, field: str) -> None:
    """As are the oldest ones of a folder that is full."""
    running, root = server
    file = uploaded(running.url, encoded(Image.new("RGB", (4, 4))))
    Path(file["path"]).unlink()
    assert ask(server)[0] == 200
    status, told = call(running.url, name, named(running.url, name, model=f"{root.name}/tiny", **{field: file}), 120)
    assert status == 400
    assert GONE in told
    assert not any("Traceback" in line for line in running.lines)


@contextmanager
def limited(server: Server, kind: int, amount: int) -> Iterator[None]:
    """The server's process under a limit of the operating system's."""
    before = resource.prlimit(server.process.pid, kind)
    resource.prlimit(server.process.pid, kind, (amount, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, kind, before)


def works(server: tuple[Server, Path]) -> None:
    status, answer = ask(server)
    assert (status, answer[0]) == (200, "complete")


def test_a_full_temp_folder_is_a_sentence_and_passes(server: tuple[Server, Path]) -> None:
    works(server)
    with limited(server[0], resource.RLIMIT_FSIZE, 100):
        status, sentence = ask(server, seed=5)
        assert status == 422
        assert "this server has no room left for pictures" in sentence
    works(server)


def test_too_little_memory_is_a_sentence_and_passes(server: tuple[Server, Path]) -> None:
    """A call of 256 rows needs 67 MB in one piece, for what one of its layers makes."""
    works(server)
    running, _ = server
    running.wait_until_warm()
    data = named(running.url, "generate", model="avatars-32", steps=2, pictures=16, bucket=256, precision="fp64")
    with limited(running, resource.RLIMIT_AS, psutil.Process(running.process.pid).memory_info().vms + 40_000_000):
        status, (kind, answer) = call(running.url, "generate", data, 120)
    assert (status, kind) == (200, "error")
    assert "out of memory: take fewer pictures or a smaller batch" in answer["error"]
    works(server)


def test_a_model_deleted_while_in_use_is_a_sentence_for_the_next(server: tuple[Server, Path]) -> None:
    answers: list[tuple[int, Any]] = []
    running, root = server
    running.wait_until_warm()
    assert ask(server, "going")[1][0] == "complete"
    run = threading.Thread(target=lambda: answers.append(ask(server, "going", steps=1000)))
    run.start()
    wait_for(lambda: json.loads(get(running.url, "/health")[1])["running"] == 1 or bool(answers))
    shutil.rmtree(root / "going")
    run.join(120)
    status, answer = answers[0]
    assert (status, answer[0]) == (200, "complete")
    status, sentence = ask(server, "going")
    assert status == 422
    assert "model must be one of the models here" in sentence
    works(server)


def test_a_worker_that_dies_is_replaced_and_its_runs_are_told(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch loop's thread is ended in the middle of a call, in the one way that `except Exception` does not see."""
    real = backends.predictor
    left = [6]

    def predictor(*arguments: Any) -> Any:
        predict = real(*arguments)

        def deadly(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            left[0] -= 1
            if left[0] == 0:
                raise SystemExit
            return predict(x, t)

        return deadly

    monkeypatch.setattr(backends, "predictor", predictor)
    engine = Engine([tiny_root], allow_hub=False)
    recipe = Recipe(arms=(Arm(steps=50),), model="tiny")
    with pytest.raises(RunError, match="The run failed: SystemExit"):
        engine.final(recipe)
    assert len(engine.final(recipe)) == 1
    with served(engine) as url:
        assert call(url, "generate", named(url, "generate", steps=2))[1][0] == "complete"


def test_a_run_has_its_wall_time_whether_anybody_reads_or_not(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "predictor", Brake(0.05))
    engine = Engine([tiny_root], allow_hub=False, budget=Budget(max_seconds=1))
    sentence = "The run was ended after 1 s, the most that one may take on this host: take fewer steps"
    with pytest.raises(RunError, match=sentence):
        engine.final(Recipe(arms=(Arm(steps=900),), model="tiny"))
    with served(engine) as url:
        data = named(url, "generate", steps=900, pictures=1)
        _, last = call(url, "generate", data)
        assert last[0] == "error"
        assert sentence in str(last[1])
        assert post(url, "/gradio_api/call/generate", {"data": data})[0] == 200  # and never reads
        wait_for(lambda: engine.request_log.counters["runs_failed"] == 3)
        wait_for(lambda: engine.running == 0)  # it is taken out right after its end was told
