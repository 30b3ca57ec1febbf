"""The page itself, which is written once for each address."""

import asyncio
import gzip
import json
import re
from typing import Any

import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ddim_app.engine import Engine
from ddim_app.ui.hosting.front_end import FOLDER, needed_files
from ddim_app.ui.hosting.front_page import MOST, TEXTS, UNREAD, FrontPage
from ddim_app.ui.hosting.gradio_patches import mended_scripts
from ddim_app.ui.page import build_ui


class Counted:
    """An application that counts what it is asked, and how it is packed."""

    def __init__(self, app: Any) -> None:
        self.app, self.asked = app, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += scope["type"] == "http"
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def written() -> Counted:
    """The page as Gradio writes it."""
    return Counted(gr.mount_gradio_app(FastAPI(), build_ui(Engine(allow_hub=False)), "/"))


def described(page: str) -> Any:
    """What the page says of its components, with the texts in the places of their numbers."""
    written = page.split("window.gradio_config = ")[1]
    config, end = json.JSONDecoder().raw_decode(written)
    texts = json.JSONDecoder().raw_decode(written[end:].split("})(")[1])[0] if written[end:].startswith(";(texts") else []
    for component in config["components"]:
        for name in TEXTS:
            if isinstance(number := component["props"].get(name), int):
                component["props"][name] = texts[number]
    return config


def test_every_visitor_gets_the_page_that_gradio_writes_shortened(written: Counted) -> None:
    plain = TestClient(written).get("/").text
    kept = TestClient(FrontPage(written))
    before = written.asked
    for coding in ("gzip", "identity"):
        answer = kept.get("/", headers={"accept-encoding": coding})
        config = described(plain)
        for component in config["components"]:
            for name in component.keys() & UNREAD:
                del component[name]
        assert described(answer.text) == config
        assert around(answer.text) == around(plain)
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers.get("content-encoding") == ("gzip" if coding == "gzip" else None)
    assert written.asked == before + 1
    assert len(answer.content) < 0.8 * len(plain)
    assert int(kept.get("/").headers["content-length"]) < len(answer.content) / 2
    assert kept.get("/?seed=8&view=api").content == answer.content  # the browser reads the query


def around(page: str) -> tuple[str, str]:
    """What stands before and after the page's description."""
    return page.split("window.gradio_config")[0], page.split("window.gradio_api_info")[1]


def test_what_the_page_leaves_out_is_read_by_none_of_its_scripts() -> None:
    scripts = [
        mended_scripts().get(name) or (FOLDER / name).read_text("utf-8") for name in needed_files(["html"]) if name.endswith("js")
    ]
    read = [found for name in UNREAD for script in scripts for found in re.findall(rf"\w+[.?!]+{name}\b|\b{name}}}", script)]
    assert set(read) <= {"this.api_info"}  # the client's own, which it asks the server for


def test_what_is_asked_for_at_once_goes_before_the_description(written: Counted) -> None:
    link = '<link rel="preload" href="a">'
    plain, page = TestClient(FrontPage(written)).get("/").text, TestClient(FrontPage(written, link)).get("/").text
    assert page.replace(link, "") == plain
    assert plain.index("<base") < page.index(link) < plain.index("window.gradio_config")


@pytest.mark.parametrize("headers", [{"x-forwarded-host": "a.example"}, {"host": "b.example"}, {"x-forwarded-proto": "https"}])
def test_another_address_is_another_page(written: Counted, headers: dict[str, str]) -> None:
    kept = TestClient(FrontPage(written))
    kept.get("/")
    address = described(TestClient(written).get("/", headers=headers).text)["root"]
    assert described(kept.get("/", headers=headers).text)["root"] == address != described(kept.get("/").text)["root"]


def test_what_is_no_page_is_passed_on(written: Counted) -> None:
    kept = TestClient(FrontPage(written))
    assert kept.get("/config").json()["version"] == gr.__version__
    assert kept.get("/nothing").status_code == 404
    assert kept.head("/").content == b""


def test_a_refusal_is_passed_on_and_not_kept() -> None:
    answers = iter((503, 200))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": next(answers), "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    client = TestClient(FrontPage(app))
    assert [(answer.status_code, answer.text) for answer in (client.get("/"), client.get("/"), client.get("/"))] == [
        (503, "one two"),
        (200, "one two"),
        (200, "one two"),
    ]


def test_addresses_from_strangers_are_bounded() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})

    async def ask(host: str) -> bytes:
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message)

        headers = [(b"host", host.encode()), (b"accept-encoding", b"gzip")]
        await front({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}, None, send)  # type: ignore[arg-type]
        return gzip.decompress(told[1]["body"])

    front = FrontPage(app)
    assert {asyncio.run(ask(f"host-{i}")) for i in range(3 * MOST)} == {b"page"}
    assert len(front._pages) == MOST
