"""`python app.py` as a process: its options, its health, its end, and behind nginx."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import JsonLine
from ddim_app.engine.limits import HOSTED
from ddim_app.engine.options import read
from tests.nginx import nginx
from tests.server import ROOT, Server, app, call, drop, events, get, named, post
from tests.wire import patient_client, wait_for


@pytest.fixture(scope="module")
def server(tiny_root: Path) -> Iterator[Server]:
    with app(
        "--models-dir", str(tiny_root), "--metrics", "--root-path", "/ddim", "--max-runs", "2", "--max-seconds", "60"
    ) as server:
        yield server


TINY: dict[str, Any] = {"steps": 3, "pictures": 1}


def test_health_says_model_device_and_queue(server: Server) -> None:
    status, body = get(server.url, "/health")
    assert status == 200
    health = json.loads(body)
    assert (health["status"], health["model"], health["device"], health["max_waiting"]) == ("ok", "avatars-32", "cpu", 64)
    assert {"running", "waiting", "number_format"} <= health.keys()


def test_who_follows_all_links_is_asked_to_follow_none_that_may_run(server: Server) -> None:
    """A link opens on its finished run, and has a query."""
    assert get(server.url, "/robots.txt") == (200, b"User-agent: *\nDisallow: /*?\n")


def test_hugging_face_is_told_nothing() -> None:
    """Its client reads this as it is imported, which nothing above it may do."""
    begin = (ROOT / "app.py").read_text("utf-8").split("if os.environ")[0]
    code = f"{begin}\nprint(os.environ['HF_HUB_DISABLE_TELEMETRY'], 'huggingface_hub' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True).stdout
    assert told == "1 False\n"


def test_a_run_is_a_line_in_the_log_and_a_count(server: Server, tiny_root: Path) -> None:
    model = f"{tiny_root.name}/tiny"
    status, (event, _) = call(server.url, "generate", named(server.url, "generate", model=model, **TINY))
    assert (status, event) == (200, "complete")
    wait_for(lambda: any(line.get("model") == model for line in server.log()))
    line = next(line for line in server.log() if line.get("model") == model)
    assert line.keys() == {"event", "kind", "recipe", "model", "rows", "planned", "evaluations", "seconds", "outcome"}
    assert (line["rows"], line["planned"], line["evaluations"], line["outcome"]) == (1, 3, 3, "done")
    assert len(line["recipe"]) == 16
    status, _ = call(server.url, "generate", named(server.url, "generate", steps=-1))
    assert status == 422
    wait_for(lambda: {"event": "refused", "field": "steps"} in server.log())
    text = get(server.url, "/metrics")[1].decode()
    assert "ddim_requests_refused_total 1\n" in text
    assert "ddim_visitors 0\n" in text
    assert "base64" not in "".join(server.lines)


def test_a_visitor_has_a_share_and_another_is_served(server: Server) -> None:
    """One address may have two runs under way; the proxy's header says which address it is."""
    server.wait_until_warm()
    slow = named(server.url, "generate", steps=900, pictures=16)
    started = [
        post(server.url, "/gradio_api/call/generate", {"data": slow}, {"X-Forwarded-For": "1.1.1.1, 9.9.9.9"}) for _ in range(2)
    ]
    assert [status for status, _ in started] == [200, 200]
    wait_for(lambda: json.loads(get(server.url, "/health")[1])["running"] == 2)
    status, sentence = call(server.url, "generate", slow, headers={"X-Forwarded-For": "2.2.2.2, 9.9.9.9"})
    assert status == 422
    assert json.loads(get(server.url, "/health")[1])["running"] == 2, "refused at once, not when the others had ended"
    assert "this visitor has 2 runs under way or waiting, and may have 2 on this host" in sentence
    quick = named(server.url, "generate", steps=1, pictures=1)
    assert call(server.url, "generate", quick, headers={"X-Forwarded-For": "9.9.9.9, 8.8.8.8"})[1][0] == "complete"
    for _, body in started:
        drop(server.url, f"/gradio_api/call/generate/{json.loads(body)['event_id']}")
    wait_for(lambda: json.loads(get(server.url, "/health")[1])["running"] == 0, 60)


def test_a_body_too_large_is_refused_in_words(server: Server) -> None:
    status, body = post(server.url, "/gradio_api/call/generate", b'{"data": ["' + b"x" * 17_000_000 + b'"]}')
    assert (status, json.loads(body)["detail"]) == (413, "The request must have at most 16 MB.")


def test_behind_nginx_under_a_sub_path(server: Server, tmp_path: Path) -> None:
    with nginx(tmp_path, server.url) as proxy:
        address = proxy.url
        client = patient_client(address, download_files=tmp_path)
        gallery, summary = client.predict(steps=3, pictures=2, api_name="/generate")
        assert summary["nfe"] == [3]
        assert Path(gallery[0]["image"]).read_bytes().startswith(b"\x89PNG")
        page = get(address, "/")[1].decode()
        assert '"root":"http://127.0.0.1' in page.replace(" ", "")
        assert "/ddim" in page
        # One event at a time, not all at once at the end: nothing in between buffers the stream.
        event = json.loads(post(address, "/gradio_api/call/generate", {"data": named(address, "generate", steps=40)})[1])[
            "event_id"
        ]
        names = [name for name, _ in events(address, f"/gradio_api/call/generate/{event}")]
        assert names[-1] == "complete"
        assert "generating" in names


def test_sigterm_lets_a_run_end_and_tells_the_others(tiny_root: Path) -> None:
    with app("--models-dir", str(tiny_root), "--grace", "10") as server:
        answers: dict[str, Any] = {}
        server.wait_until_warm()
        values = {
            "short": named(server.url, "generate", model=f"{tiny_root.name}/tiny", steps=6, pictures=1),
            "long": named(server.url, "generate", steps=1000, pictures=16),
        }

        def run(name: str) -> None:
            answers[name] = call(server.url, "generate", values[name])

        short, long = (threading.Thread(target=run, args=(name,)) for name in values)
        long.start()
        wait_for(lambda: json.loads(get(server.url, "/health")[1])["running"] == 1)
        short.start()
        wait_for(lambda: json.loads(get(server.url, "/health")[1])["running"] == 2)
        server.process.terminate()
        wait_for(lambda: json.loads(get(server.url, "/health")[1])["status"] == "ending")
        status, sentence = call(server.url, "generate", values["short"])
        assert status == 422
        assert "this server is about to be restarted, and takes no new runs" in sentence
        assert server.process.wait(60) == 0
        long.join(60)
        short.join(60)
        assert answers["short"][1][0] == "complete"
        name, data = answers["long"][1]
        assert name == "error"
        assert "The server is shutting down" in json.dumps(data)
        assert {line["outcome"] for line in server.log() if line["event"] == "run" and line["model"] == "avatars-32"} >= {
            "The server is shutting down"
        }


def test_options_come_from_line_and_environment(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("# who\nann:se:cret\nbob:x\n")
    options = read(
        ["--max-queue", "5", "--model", "one", "--model", "ab/cd"],
        {"DDIM_MAX_QUEUE": "9", "DDIM_MAX_EVALUATIONS": "100", "DDIM_AUTH_FILE": str(tmp_path / "auth"), "DDIM_ROOT_PATH": "/x/"},
    )
    assert (options.max_queue, options.budget.max_evaluations, options.root_path) == (5, 100, "/x")
    assert options.auth == (("ann", "se:cret"), ("bob", "x"))
    assert (options.hosted, options.allow_hub, options.first_model) == (True, ("ab/cd",), "one")
    local = read([], {})
    assert (local.host, local.port, local.hosted, local.allow_hub, local.budget.max_runs) == (None, None, False, True, None)
    assert (local.live, read(["--live", "off"], {}).live, read([], {"DDIM_LIVE": "off"}).live) == (True, False, False)
    assert read([], {"GRADIO_SERVER_NAME": "0.0.0.0"}).hosted
    assert read(["--host", "::1"], {}).hosted is False
    strangers = read(["--hosted", "--max-evaluations-per-minute", "9"], {"DDIM_MAX_ADDRESS_EVALUATIONS_PER_MINUTE": "99"}).budget
    assert (strangers.max_evaluations_per_minute, strangers.max_address_evaluations_per_minute) == (9, 99)
    assert (HOSTED.max_evaluations_per_minute, HOSTED.max_address_evaluations_per_minute) == (3_000, 20_000)
    assert read([], {"DDIM_NO_HUB": "1", "DDIM_SHARE": "false"}).allow_hub is False


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "70000"], "--port must be a whole number from 1 to 65535; got '70000'"),
        (["--port", "x"], "--port must be a whole number from 1 to 65535; got 'x'"),
        (["--max-queue", "0"], "--max-queue must be a whole number from 1 to 100000; got '0'"),
        (["--max-evaluations", "-1"], "--max-evaluations must be a whole number from 1 to 1000000000; got '-1'"),
        (["--models-dir", "/no/such"], "--models-dir must be a folder that exists; got '/no/such'"),
        (["--auth-file", "/no/such"], "--auth-file must be a readable text file; got '/no/such'"),
        (["--root-path", "ddim"], "--root-path must begin with / or be a whole address; got 'ddim'"),
        (["--model", " "], "--model must be the name of a model; got nothing"),
        (["--live", "no"], "--live must be one of on, off; got 'no'"),
        (["--grace", "1e9"], "--grace must be a whole number from 0 to 3600; got '1e9'"),
    ],
)
def test_a_wrong_option_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        read(arguments, {})
    assert capsys.readouterr().err.strip().endswith(f"error: {sentence}")


def test_warnings_and_tracebacks_are_lines_of_json() -> None:
    try:
        raise ValueError('a "quoted" word')
    except ValueError:
        failed = logging.LogRecord("ddim_app", logging.ERROR, "x.py", 1, "call %d failed", (3,), sys.exc_info())
    said = json.loads(JsonLine().format(failed))["log"]
    assert (said["event"], said["level"], said["text"]) == ("message", "ERROR", "call 3 failed")
    assert 'ValueError: a "quoted" word' in said["trace"]
    run = logging.LogRecord("ddim_app", logging.INFO, "x.py", 1, '{"event": "run"}', (), None)
    assert json.loads(JsonLine().format(run))["log"] == {"event": "run"}
