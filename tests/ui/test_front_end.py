"""The scripts and styles of Gradio's that the page needs."""

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from ddim_app.ui.hosting import front_end
from ddim_app.ui.hosting.gradio_patches import mended_scripts


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(Starlette(routes=[front_end.route()]))


def test_each_type_brings_its_files_and_all_of_them_are_there() -> None:
    bare, more = front_end.needed_files([]), front_end.needed_files(["slider", "gallery", "no such type"])
    assert all((front_end.FOLDER / name).is_file() for name in more)
    assert all(any(name.startswith(each) for name in bare) for each in ("index-", "Index-", "core-", "Blocks-", "statustracker-"))
    assert set(bare) < set(more)
    assert any(name.startswith("Gallery-") for name in set(more) - set(bare))
    assert len(more) == len(set(more))


def test_a_page_of_an_unknown_gradio_asks_for_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "index.html").write_text("<script src='main.js'>")
    monkeypatch.setattr(front_end, "FOLDER", tmp_path / "assets")
    assert front_end.preloads(["slider"]) == ""


def test_scripts_and_styles_are_asked_for_as_the_page_will() -> None:
    elements = front_end.preloads(["slider", "html"])
    links = re.findall(r"<link ([^>]+) crossorigin href=\"\./assets/[^\"]+\.(\w+)\">", elements)
    assert set(links) == {('rel="modulepreload"', "js"), ('rel="preload" as="style"', "css")}
    assert re.findall(r"<script type=\"module\" crossorigin src=\"\./assets/(\w+)-[^\"]+\.js\"></script>", elements) == ["HTML"]


def test_files_are_served_packed_and_plain_and_mended_ones_as_they_are_mended(client: TestClient) -> None:
    mended = mended_scripts()
    for name in front_end.needed_files([]):
        kind = "text/javascript" if name.endswith(".js") else "text/css"
        text = mended.get(name) or (front_end.FOLDER / name).read_text("utf-8")
        for coding in ("gzip", "identity"):
            answer = client.get(f"/assets/{name}", headers={"accept-encoding": coding})
            assert answer.text == text
            assert answer.headers["content-type"].startswith(kind)
            assert answer.headers.get("content-encoding", "identity") == coding
            assert "max-age" in answer.headers["cache-control"]


def test_fonts_are_served_too_and_nothing_from_elsewhere(client: TestClient) -> None:
    font = next(front_end.FOLDER.glob("*.woff2"))
    assert client.get(f"/assets/{font.name}").content == font.read_bytes()
    assert [client.get(f"/assets/{name}").status_code for name in ("nothing.js", "..%2Findex.html", "%2Fetc%2Fpasswd")] == [404] * 3
