"""What a tab shows of settings that are not those of now is dimmed, whoever changed them and on whichever tab."""

import pytest
from playwright.sync_api import Page, expect

from ddim_app.engine import Engine
from ddim_app.runs.sampling import Arm, Recipe
from tests.browser.frame import open_tab
from tests.browser.interpolating import frames, interpolate
from tests.browser.page import until_quiet
from tests.browser.recipes import note, paste
from tests.browser.visitor import fill
from tests.wire import wait_for

PARTS = {
    "matrix": ["#matrix .cell canvas"],
    "interpolate": ["#ends img", "#strips .stage canvas", "#against canvas"],
    "invert": ["#invert .verdict", "#invert canvas", "#ways .row"],
}
"""Pictures of each tab, and what else is of one model."""


def dimmed(page: Page, tab: str, parts: list[str], *, is_dim: bool = True) -> None:
    """Opens the tab, and expects these parts to be dimmed, or none of them."""
    open_tab(page, tab)
    for part in parts:
        expect(page.locator(part).first).to_have_css("opacity", "0.45" if is_dim else "1")


def choose_model(page: Page, name: str) -> None:
    page.locator("#model input").fill(name)
    page.locator("#model input").press("Enter")


def test_a_model_chosen_on_one_tab_dims_what_the_others_show_until_it_is_chosen_back(page: Page) -> None:
    for tab, parts in PARTS.items():
        dimmed(page, tab, parts, is_dim=False)
    open_tab(page, "compare")
    choose_model(page, "digits-32")
    for tab, parts in PARTS.items():
        dimmed(page, tab, parts)
    choose_model(page, "avatars-32")
    for tab, parts in PARTS.items():
        dimmed(page, tab, parts, is_dim=False)


def test_a_tab_that_is_opened_first_after_another_model_was_chosen_is_dimmed(page: Page) -> None:
    choose_model(page, "digits-32")
    for tab, parts in PARTS.items():
        dimmed(page, tab, parts)


def test_settings_that_a_recipe_brings_dim_the_tabs_that_use_them(page: Page) -> None:
    page.get_by_role("button", name="Recipe: copy, restore, files").click()
    arms = (Arm(steps=10, clip="off"), Arm(method="ddpm", steps=10, clip="off"))
    paste(page, Recipe(arms=arms, seed=7, pictures=4).to_json())
    note(page, "Its settings are in the fields of Compare")
    dimmed(page, "matrix", PARTS["matrix"])
    dimmed(page, "interpolate", PARTS["interpolate"])
    dimmed(page, "invert", PARTS["invert"], is_dim=False)  # it never clips


def test_a_setting_that_a_tab_does_not_use_dims_nothing(page: Page) -> None:
    fill(page, "eta", 0.5)  # a row of the matrix, and no way up
    fill(page, "seed", 20)
    until_quiet(page)
    dimmed(page, "invert", PARTS["invert"], is_dim=False)
    dimmed(page, "interpolate", PARTS["interpolate"])
    fill(page, "eta", 0)
    dimmed(page, "interpolate", PARTS["interpolate"], is_dim=False)


def test_what_is_stored_is_answered_without_an_evaluation(page: Page, engine: Engine) -> None:
    open_tab(page, "interpolate")
    expect(page.locator("#cost-interpolate p")).to_have_text("Ends 7, 8, 9, 10 · stored: 640 evaluations")
    stored = frames(page)
    page.locator("#frames input").fill("4")
    page.locator("#steps-interpolate input").fill("2")
    page.locator("#steps-interpolate input").press("Tab")
    interpolate(page)
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
    calls = engine.loop.calls
    page.locator("#frames input").fill("32")
    page.locator("#steps-interpolate input").fill("20")
    page.locator("#steps-interpolate input").press("Tab")
    expect(page.locator("#cost-interpolate p")).to_contain_text("stored")
    page.click("#run-interpolate")
    expect(page.locator("#status-interpolate p")).to_have_text("Done · stored, fp32: no evaluation was made")
    wait_for(lambda: frames(page) == stored)
    dimmed(page, "interpolate", PARTS["interpolate"], is_dim=False)
    page.click("#against .draw")
    until_quiet(page)
    assert engine.loop.calls == calls


@pytest.mark.parametrize("later", ["40", "4"])
def test_a_run_fills_what_it_was_asked_for_and_no_later_setting(page: Page, later: str) -> None:
    open_tab(page, "interpolate")
    page.locator("#frames input").fill("4")
    page.locator("#steps-interpolate input").fill("4")
    page.locator("#steps-interpolate input").press("Tab")
    dimmed(page, "interpolate", ["#strips .stage canvas"])
    interpolate(page)
    page.locator("#steps-interpolate input").fill(later)
    page.locator("#steps-interpolate input").press("Tab")
    wait_for(lambda: page.input_value("#steps-interpolate input") == later)
    dimmed(page, "interpolate", ["#strips .stage canvas"], is_dim=later != "4")
    dimmed(page, "interpolate", ["#against canvas"])
