"""From a folder of pictures to the page: a training run shows up in an open page, and is sampled there."""

import os
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect

from ddim_app.engine import Engine
from ddim_app.models.catalogue import ROOT
from tests.browser.page import open_page, screenshot
from tests.browser.visitor import fill, pixels, run
from tests.train_tools import save_drawings
from tests.wire import served


def test_a_fine_tuned_model_is_listed_while_it_trains_and_sampled(browser: Browser, tmp_path: Path) -> None:
    save_drawings(tmp_path / "my_photos", 24, side=32)
    command = [
        sys.executable, "-m", "ddim_app.train", "--data", str(tmp_path / "my_photos"), "--output", str(tmp_path / "runs" / "me"),
        "--steps", "6", "--batch-size", "4", "--holdout", "4", "--no-several-averages", "--preview-every", "6",
    ]  # fmt: skip
    with served(Engine([ROOT / "weights", tmp_path / "runs"], allow_hub=False)) as address, browser.new_context() as context:
        page = context.new_page()
        open_page(page, address)
        fill(page, "steps", 5)
        run(page)
        base = pixels(page, 0)
        training = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
        )
        try:
            page.wait_for_timeout(1000)
            page.locator("#model input").click()
            expect(page.get_by_role("option", name="runs/me")).to_be_visible(timeout=300_000)
            _, errors = training.communicate(timeout=600)
        finally:
            training.kill()
        assert training.returncode == 0, errors
        page.get_by_role("option", name="runs/me").click()
        expect(page.locator("#cost")).to_contain_text("evaluations")
        run(page)
        expect(page.locator("#recipe")).to_contain_text("runs/me · DDIM")
        assert pixels(page, 0) != base
        page.locator("#training button.label-wrap").click()
        expect(page.locator("#training-said")).to_contain_text("Step 6 of 6, finished: held-out loss")
        expect(page.locator("#training-curve svg path")).not_to_have_count(0)
        expect(page.locator("#training-preview img")).to_be_visible()
        screenshot(page, "fine-tuned")
        page.locator("#model input").fill("avatars-32")
        page.locator("#model input").press("Enter")
        run(page, "text=Base and fine-tuned")
        expect(page.locator("#stage .arm")).to_have_count(4)  # both samplers with both sets of weights
        expect(page.locator("#recipe")).to_contain_text("runs/me")
        expect(page.locator("#recipe")).to_contain_text("avatars-32")
        expect(page.locator("#headlines h1:visible")).to_have_text("The same noise, two sets of weights.")
