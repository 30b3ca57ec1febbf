"""A server that answers before torch is imported: the page stands, and whoever presses waits until it is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.server import ROOT, Server, events, get, named, post

HEAVY = ("torch", "diffusers", "openvino", "transformers")


def health(server: Server) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(get(server.url, "/health")[1])
    return told


def test_the_page_is_built_without_torch() -> None:
    code = (
        "import sys, app; from ddim_app.engine.options import Options; app.build_ui(app.make_engine(Options()));"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.stdout.strip(), ran.returncode) == ("[]", 0), ran.stderr


def test_two_presses_wait_for_torch_and_have_the_same_pictures(starting: Server, gate: Path) -> None:
    assert health(starting) | {"status": "starting", "device": None, "model": "avatars-32"} == health(starting)
    status, page = get(starting.url, "/")
    assert status == 200
    assert b"data:image/png;base64" in page
    presses = [pressed(starting, steps=2, pictures=1) for _ in range(2)]
    wrong = pressed(starting, steps=2000)
    assert health(starting)["status"] == "starting"
    gate.touch()
    pictures = []
    for press in presses:
        name, data = events(starting.url, press)[-1]
        assert name == "complete", data
        pictures.append(get(starting.url, "/gradio_api/file=" + data[0][0]["image"]["path"])[1])
    assert pictures[0].startswith(b"\x89PNG")
    assert pictures[0] == pictures[1]
    assert "steps must be a whole number from 1 to 1000; got 2000" in json.dumps(events(starting.url, wrong)[-1])
    assert health(starting)["status"] == "ok"


def pressed(server: Server, **values: Any) -> str:
    """The path of the stream of a run that is asked for."""
    answer = post(server.url, "/gradio_api/call/generate", {"data": named(server.url, "generate", **values)})
    return f"/gradio_api/call/generate/{json.loads(answer[1])['event_id']}"
