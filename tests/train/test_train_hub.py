"""Uploading a run, to a stub of the Hub on loopback."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.train_tools import ROOT


class Hub(ThreadingHTTPServer):
    """Takes a repository and one commit whose files travel inside it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.refuses = {}, False


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = b""
            while size := int(self.rfile.readline(), 16):
                parts += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return parts
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        self.answer({"id": "me/model", "sha": "0" * 40, "siblings": [], "private": False})

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def do_POST(self):
        body = self.body()
        if self.path.endswith("/repos/create"):
            self.server.refuses = json.loads(body)["name"] == "refused"
        if self.server.refuses:
            return self.answer({"error": "You have no right to do this"}, 403)
        if self.path.endswith("/repos/create"):
            return self.answer({"url": f"http://127.0.0.1:{self.server.server_port}/me/model", "id": "me/model"})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            return self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        if "/commit/" in self.path:
            for line in body.splitlines():
                operation = json.loads(line)
                if operation["key"] == "file":
                    self.server.files[operation["value"]["path"]] = base64.b64decode(operation["value"]["content"])
            return self.answer(
                {
                    "commitUrl": f"http://127.0.0.1:{self.server.server_port}/me/model/commit/{'0' * 40}",
                    "commitOid": "0" * 40,
                    "pullRequestUrl": None,
                }
            )
        return self.answer({})


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """The files that have come to the Hub, and what was said of an upload that it took and of one that it refused.

    In an interpreter of its own, since the Hub's address is read when its library is imported.
    """
    folder = tmp_path_factory.mktemp("run")
    names = ["README.md", "model_index.json", "preview.png", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
             "scheduler/scheduler_config.json", "run.json", "metrics.jsonl", "checkpoints/step-000000001.safetensors",
             "previews/nearest.png"]  # fmt: skip
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"---\ntags:\n- ddpm\n---\n" if name == "README.md" else name.encode())
    code = (
        "import sys; from pathlib import Path; from ddim_app.train import bundle\n"
        "for name in ('model', 'refused'):\n"
        "    try: print(bundle.push(Path(sys.argv[1]), f'me/{name}'))\n"
        "    except ValueError as error: print('error:', error)"
    )
    hub = Hub()
    environment = {
        **os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_TOKEN": "hf_stub", "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }  # fmt: skip
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        ran = subprocess.run(
            [sys.executable, "-c", code, folder], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    finally:
        hub.shutdown()
        hub.server_close()
    assert ran.returncode == 0, ran.stderr
    return hub.files, *ran.stdout.strip().splitlines()[-2:]


def test_only_the_model_is_uploaded(pushed):
    files, taken, _ = pushed
    assert taken.endswith("/me/model")
    assert sorted(files) == [
        "README.md", "model_index.json", "preview.png", "scheduler/scheduler_config.json", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    assert files["unet/config.json"] == b"unet/config.json"


def test_a_refused_upload_is_one_sentence(pushed):
    *_, refused = pushed
    assert refused.startswith("error: --push-to-hub me/refused: the upload failed (")
    assert refused.endswith("and the same command tries again")
