"""The bar of a run: of its steps, or, where it ends by the clock, of the time that was asked for."""

from tqdm import tqdm  # type: ignore[import-untyped]

BY_CLOCK = "{percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]"
NEARLY = 0.99
"""The part of the time that is shown when it is over before the last step is made."""


class RunBar(tqdm):  # type: ignore[misc]
    """Counts steps; with `seconds`, the time of the whole run, these in their place, so that what is left follows the clock."""

    def __init__(self, steps: int, done: int, seconds: float | None, spent: float, hidden: bool) -> None:
        self._steps, self._seconds, self._figures = done, seconds, ""
        total, initial = (steps, done) if seconds is None else (seconds, min(spent, NEARLY * seconds))
        super().__init__(
            total=total, initial=initial, unit="step", disable=hidden, dynamic_ncols=True, bar_format=seconds and BY_CLOCK
        )

    def step(self, step: int, steps: int, spent: float, figures: str) -> None:
        """Shows that a step of about `steps` has been made, `spent` seconds after the run began."""
        if self._seconds is None:
            self.set_postfix_str(figures, refresh=False)
            self.update()
        else:
            self.set_postfix_str(f"step {step} of about {steps}{', ' * bool(figures)}{figures}", refresh=False)
            self.update(min(spent, NEARLY * self._seconds) - self.n)

    def end(self) -> None:
        """Shows that the last step has been made and looked at."""
        if not self.disable:
            self.update(self.total - self.n)
