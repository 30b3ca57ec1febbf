"""What the page's configuration says: what gradio asks of each block for every new visitor, and who listens to what."""

import inspect
from collections import Counter
from typing import Any

import pytest
from gradio.state_holder import SessionState

from ddim_app.engine import Engine
from ddim_app.ui import build_ui


@pytest.fixture(scope="module")
def page(tiny_root: Any) -> Any:
    return build_ui(Engine([tiny_root]))


def test_a_new_visitor_makes_no_block_describe_itself_again(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    SessionState(page)
    read: list[Any] = []
    signature = inspect.signature
    monkeypatch.setattr(inspect, "signature", lambda *given, **options: read.append(given) or signature(*given, **options))
    SessionState(page)
    assert read == []


def test_what_is_remembered_is_what_the_block_says_and_visitors_do_not_share_it(page: Any) -> None:
    for block in page.blocks.values():
        assert block.get_config().keys() == type(block).get_config(block).keys()
    first, second = SessionState(page), SessionState(page)
    key = next(key for key, config in first.config_values.items() if config["props"].get("label") == "Seed")
    first._update_value_in_config(key, 12)
    assert first.config_values[key]["props"]["value"] == 12
    assert second.config_values[key]["props"]["value"] != 12


def test_no_two_calls_of_the_server_wait_on_one_event(page: Any) -> None:
    """Gradio sends an event that waited to all its listeners anew, so that two that wait would wake each other for ever."""
    listeners = page.config["dependencies"]
    waiting = [fn for fn in listeners if fn["backend_fn"] and fn["trigger_mode"] == "always_last"]
    targets = Counter(tuple(target) for fn in waiting for target in fn["targets"] if target[1] not in ("then", "load"))
    assert [target for target, count in targets.items() if count > 1] == []
    assert len(waiting) > 5
