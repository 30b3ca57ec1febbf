"""A Hub of folders, and an empty cache of the Hub's library, for the tests that ask for `fake_hub`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from tests.models.fake_hub import FakeHub, serving


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with serving() as hub:
        reach(hub, monkeypatch, tmp_path / "hub-cache")
        yield hub
        close_session()


def reach(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Sends the client library to that Hub."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    monkeypatch.delenv("HF_TOKEN", raising=False)
