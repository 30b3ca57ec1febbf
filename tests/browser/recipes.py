"""What a visitor does with recipes."""

import zipfile

from playwright.sync_api import Page, expect


def copied(page: Page, form: str, start: str) -> str:
    page.get_by_label(form, exact=True).check()
    page.wait_for_function("start => document.querySelector('#copied textarea')?.value.startsWith(start)", arg=start)
    return page.input_value("#copied textarea")


def note(page: Page, words: str) -> None:
    expect(page.locator("#restore-note")).to_contain_text(words)


def drop(page: Page, name: str, data: bytes) -> None:
    page.set_input_files("#drop-picture input[type=file]", {"name": name, "mimeType": "application/octet-stream", "buffer": data})


def paste(page: Page, words: str) -> None:
    page.fill("#paste-recipe textarea", words)
    page.locator("#paste-recipe").get_by_role("button", name="Restore").click()


def zipped(page: Page) -> tuple[str, dict[str, bytes]]:
    """The zip of the open tab's last run: its name, and its files by theirs."""
    with page.expect_download() as download:
        page.click("#save-pictures")
    with zipfile.ZipFile(download.value.path()) as files:
        return download.value.suggested_filename, {name: files.read(name) for name in files.namelist()}


def set_pictures(page: Page, count: int) -> None:
    page.locator("#pictures").get_by_role("radio", name=str(count), exact=True).check()


def runs_kept(page: Page, count: int) -> None:
    expect(page.locator("#history .strip li")).to_have_count(count + 1)  # the stored one is there from the beginning
