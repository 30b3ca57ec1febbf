"""`python -m tests`: what each kind chooses."""

import pytest

from tests import __main__ as kinds

PACKAGES = sorted(path.parent.name for path in (kinds.TESTS.parent / "ddim_app").glob("*/__init__.py"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pytest was called with, in place of running it."""
    calls: list[list[str]] = []
    monkeypatch.setattr(pytest, "main", lambda words: calls.append(words) or 3)
    return calls


@pytest.mark.parametrize("package", PACKAGES)
def test_fast_has_something_of_every_package(package: str) -> None:
    assert set((kinds.TESTS / package).glob("test_*.py")) - set(kinds.slow())


def test_every_file_that_is_left_out_is_there() -> None:
    named = {(folder, name) for folder, names in kinds.SLOW.items() for name in names.split()}
    assert [(folder, name) for folder, name in named if not [*(kinds.TESTS / folder).glob(f"test_{name}.py")]] == []


def test_a_kind_is_a_mark_and_what_is_left_out_and_options_go_on(asked: list[list[str]]) -> None:
    assert kinds.main(["long", "-x"]) == kinds.main(["browser"]) == kinds.main(["fast", "-k", "a b"]) == 3
    long, browser, fast = asked
    assert (long, browser) == (["-m", "long", "-x"], ["-m", "browser and not long"])
    assert (fast[:2], fast[-2:]) == (["-m", "not long and not browser"], ["-k", "a b"])
    assert f"--ignore={kinds.TESTS / 'ui' / 'test_hostile.py'}" in fast


@pytest.mark.parametrize("words", [[], ["quick"], ["--help"]])
def test_another_word_gets_the_three(words: list[str], asked: list[list[str]]) -> None:
    with pytest.raises(SystemExit, match=r"usage: python -m tests fast\|browser\|long"):
        kinds.main(words)
    assert asked == []
