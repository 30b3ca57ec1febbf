"""axe-core over every tab, light and dark: nothing in our markup and colours.

What remains inside Gradio's own markup stands in axe_known.json with its reason, and leaves that list when Gradio mends it.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.page import open_page

KNOWN: list[dict[str, str]] = json.loads((Path(__file__).parent / "axe_known.json").read_text("utf-8"))
MATCHES = "([target, known]) => { const node = document.querySelector(target); return known.map(one => node.matches(one)); }"


def findings(page: Page, **options: Any) -> list[tuple[str, str, list[str], str]]:
    """(rule, target, selectors of the known list that it matches, its markup) of each finding."""
    found: list[tuple[str, str, list[str], str]] = []
    violations: list[dict[str, Any]] = Axe().run(page, options=options).response["violations"]
    for violation in violations:
        for node in violation["nodes"]:
            selectors = [one["selector"] for one in KNOWN if one["rule"] == violation["id"]]
            matched = page.evaluate(MATCHES, [node["target"][0], selectors])
            known = [one for one, yes in zip(selectors, matched, strict=True) if yes]
            found.append((violation["id"], node["target"][0], known, node["html"]))
    return found


def test_no_finding_but_the_known_ones_of_gradio(browser: Browser, url: str) -> None:
    met, wrong = set(), []
    for theme in ("light", "dark"):
        with browser.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce") as context:
            page = context.new_page()
            open_page(page, f"{url}/?__theme={theme}")
            page.click("#more button")
            for tab in page.get_by_role("tab").all():
                tab.click()
                folds = page.locator("#main button.label-wrap:visible:not(.open)")
                while folds.count():
                    folds.first.click()
                only = {"runOnly": ["color-contrast"]} if theme == "dark" else {}  # the markup is the same
                for rule, target, known, markup in findings(page, **only):
                    met |= {(rule, selector) for selector in known}
                    if not known:
                        wrong.append(f"{theme}, {tab.inner_text()}: {rule} at {target}: {markup[:200]}")
    assert not wrong, "\n".join(wrong)
    assert met == {(known["rule"], known["selector"]) for known in KNOWN}, "known findings that no longer occur: strike them out"


def test_a_phone_has_no_finding(browser: Browser, url: str) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True) as context:
        page = context.new_page()
        open_page(page, f"{url}/?__theme=dark")
        page.add_style_tag(content="#foot { display: none !important }")  # axe takes its colour for that of what lies under it
        wrong = []
        for tab in page.get_by_role("tab").all():
            tab.click()
            page.wait_for_timeout(500)
            wrong += [f"{tab.inner_text()}: {rule} at {target}" for rule, target, known, _ in findings(page) if not known]
        assert wrong == []


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known["selector"])
def test_known_findings_are_gradios_own_and_have_a_reason(known: dict[str, str]) -> None:
    assert set(known) == {"rule", "selector", "reason"}
    assert "svelte" in known["selector"]  # the class that Gradio's compiler gives to its own markup
    assert len(known["reason"]) > 20
