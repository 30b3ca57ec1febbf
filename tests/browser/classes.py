"""A visitor's choice of a model."""


def choose(page, field: str, value: str) -> None:
    page.locator(f"{field} input").fill(value)
    page.locator(f"{field} input").press("Enter")
