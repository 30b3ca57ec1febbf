"""The samplers in one table, by the names that recipes have for them: a new one is a line here, its steps a file of `diffusion`."""

from typing import NamedTuple

VARIANCE_WORDS = {"small": "", "large": "σ̂"}
ANALYTIC = "analytic"
ESTIMATE = "python -m ddim_app variance MODEL --images FOLDER"
"""The command that estimates a model's analytic variance."""


class Method(NamedTuple):
    """A sampler: what it is called, and which settings of an arm it makes use of."""

    title: str
    short: str
    """Where a title is too long."""
    eta: float | None
    """The eta that it has whatever the arm says; None for the arm's own."""
    variances: tuple[str, ...] = ()
    """Those that it makes use of beside "small"."""
    multistep: bool = False
    limit: str | None = None
    """The method whose picture it comes to with eta = 0 and many steps, where that is not its own."""

    def eta_of(self, eta: float) -> float:
        """What an arm with that eta is sampled with."""
        return eta if self.eta is None else self.eta

    def label(self, eta: float, variance: str) -> str:
        """Its name with the settings that it uses."""
        word = self._word(variance)
        words = [*([f"η = {eta:g}"] if self.eta is None else []), *filter(None, [word])]
        return f"{self.title}({', '.join(words)})" if words else self.title

    def heading(self, variance: str) -> str:
        """Its name over its pictures."""
        return f"{self.title} {self._word(variance)}".strip()

    def variance_of(self, variance: str) -> str:
        """The one that an arm with that variance is sampled with."""
        return variance if variance in self.variances else "small"

    def adds_noise(self, eta: float, variance: str) -> bool:
        return self.eta_of(eta) > 0 or self.variance_of(variance) == ANALYTIC

    def _word(self, variance: str) -> str:
        used = self.variance_of(variance)
        return VARIANCE_WORDS.get(used, used)


METHODS = {
    "ddim": Method("DDIM", "DDIM", None, (ANALYTIC,)),
    "ddpm": Method("DDPM", "DDPM", 1.0, ("large", "learned", ANALYTIC)),
    "2m": Method("DPM-Solver++ (2M)", "2M", 0.0, multistep=True, limit="ddim"),
}
