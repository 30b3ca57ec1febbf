"""The noise schedule of a model and the levels that a sampler visits.

One symbol needs care: the DDIM paper (arXiv:2010.02502) writes alpha_t for what the DDPM paper (arXiv:2006.11239)
writes as alpha_t with a bar, the cumulative product. Here that quantity is always `alpha_bar`, and its table over the
train timesteps is `alphas_cumprod`. `t` is a 0-based train timestep, 0 = least noise; the clean picture is not a
timestep but the level with alpha_bar = 1.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from ddim_app.errors import choice, real, whole
from ddim_app.lazy import Tensor, torch

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")
SPACINGS = ("leading", "trailing", "linspace", "quadratic", "quadratic-paper", "log-snr")
BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp")
VARIANCE_TYPES = {
    "fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large", "fixed_large_log": "large",
    "learned": "learned", "learned_range": "learned",
}  # fmt: skip
"""The variances of DDPM by diffusers' names."""


class Level(NamedTuple):
    """One noise level of a trajectory: x = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps."""

    t: int
    """Train timestep that the model is told at this level; 0 at the clean level."""
    alpha_bar: float
    """Signal variance in [0, 1]; exactly 1 at the clean level and nowhere else."""

    @property
    def is_clean(self) -> bool:
        return self.alpha_bar == 1.0


CLEAN = Level(0, 1.0)


@dataclass(frozen=True, eq=False)
class Schedule:
    """The forward process a model was trained on, and how its authors sample from it.

    `alphas_cumprod` is float64 of shape (T,), strictly decreasing, inside [0, 1); only its last entry may be 0
    (zero terminal SNR). `clip` and `variance` are the sampling defaults that a scheduler config names.
    """

    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"
    variance: str = "small"
    clip: str = "clip"
    clip_range: float = 1.0
    learned: str = ""
    """What the network's second half of channels says of the variance: "learned", "learned_range", or nothing, being no such."""
    snr: tuple[float, ...] = field(init=False, repr=False)
    """Signal-to-noise ratio alpha_bar / (1 - alpha_bar) at each train timestep."""
    _alpha_bars: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table = self.alphas_cumprod
        if table.dtype != torch.float64 or table.ndim != 1 or len(table) == 0:
            raise ValueError(f"alphas_cumprod must be a float64 tensor of shape (T,), got {table.dtype} {tuple(table.shape)}")
        values = tuple(table.tolist())
        falling = all(a > b for a, b in itertools.pairwise(values))
        if not (falling and values[0] < 1 and values[-1] >= 0):
            raise ValueError("alphas_cumprod must fall strictly inside [0, 1): check the betas, each must be in (0, 1]")
        if self.prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction_type must be one of {', '.join(PREDICTION_TYPES)}; got {self.prediction_type!r}")
        object.__setattr__(self, "_alpha_bars", values)
        object.__setattr__(self, "snr", tuple(value / (1 - value) for value in values))

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of noise levels the model was trained on."""
        return len(self._alpha_bars)

    @property
    def usual_spacing(self) -> str:
        """The spacing to sample on where nobody names one: trailing, or leading where nothing can be said of the last level."""
        return "leading" if self._alpha_bars[-1] == 0 and self.prediction_type == "epsilon" else "trailing"

    def level(self, t: int) -> Level:
        return Level(t, self._alpha_bars[t])

    def levels(self, num_steps: int, spacing: str = "trailing") -> list[Level]:
        """Levels in visiting order, noisiest first, ending in the clean level: one more than the transitions."""
        return self.levels_at(self.timesteps(num_steps, spacing))

    def timesteps(self, num_steps: int, spacing: str = "trailing") -> list[int]:
        """Train timesteps in visiting order, strictly decreasing; raises ValueError as the function `timesteps`, which see.

        "log-snr", which depends on the schedule, has them as evenly as whole ones can be in log(alpha_bar / (1 - alpha_bar)),
        from T - 1 to 0: S distinct entries for every S in 1..T, and for S = 1 T - 1.
        """
        if spacing != "log-snr":
            return timesteps(num_steps, self.num_train_timesteps, spacing)
        return even_in_log_snr(_checked(num_steps, self.num_train_timesteps), self._alpha_bars)[::-1]

    def levels_at(self, visited: Sequence[int]) -> list[Level]:
        """Levels for a list of train timesteps, put in visiting order, ending in the clean level.

        Raises ValueError when the list is empty, has duplicates, or leaves 0..T-1.
        """
        T = self.num_train_timesteps
        if not visited or len(set(visited)) != len(visited) or not all(0 <= t < T for t in visited):
            raise ValueError(f"timesteps must be one or more distinct whole numbers in 0..{T - 1}; got {list(visited)[:12]}")
        levels = [self.level(t) for t in sorted(visited, reverse=True)]
        if levels[0].alpha_bar == 0 and self.prediction_type == "epsilon":
            raise ValueError(
                f"this model predicts epsilon, which says nothing about the picture at t = {levels[0].t}, where alpha_bar is 0 "
                "(zero terminal SNR): use another spacing that starts below it, or a model with v_prediction"
            )
        return [*levels, CLEAN]


def timesteps(num_steps: int, num_train_timesteps: int, spacing: str = "trailing") -> list[int]:
    """Train timesteps in visiting order (strictly decreasing), from exact integer arithmetic.

    With S = num_steps, T = num_train_timesteps and i = 0..S-1:
      leading    floor(i T / S)
      trailing   round(T - i T / S) - 1
      linspace   round(i (T - 1) / (S - 1))
      quadratic  max(i, floor((T - 1) i^2 / (S - 1)^2))
    Halves are rounded to even. Each gives S distinct entries for every S in 1..T; S = 1 gives T - 1 (leading: 0).
    quadratic-paper is the list behind DDIM's Table 1 (arXiv:2010.02502, D.2), int(linspace(0, sqrt(0.8 T), S)^2) with its
    duplicates merged, so it may be shorter than S, and it starts near 0.8 T. "log-snr" is the schedule's: Schedule.timesteps.

    >>> timesteps(5, 1000, "trailing")
    [999, 799, 599, 399, 199]
    >>> timesteps(7, 1000, "leading")
    [857, 714, 571, 428, 285, 142, 0]

    Raises ValueError when S is outside 1..T or the spacing is unknown.
    """
    S, T = _checked(num_steps, num_train_timesteps), num_train_timesteps
    if spacing == "quadratic-paper":
        return sorted({int(root**2) for root in np.linspace(0, np.sqrt(T * 0.8), S)}, reverse=True)
    if spacing == "leading":
        rising = [i * T // S for i in range(S)]
    elif spacing == "trailing":
        rising = [round(Fraction(j * T, S)) - 1 for j in range(1, S + 1)]
    elif spacing not in ("linspace", "quadratic"):
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}; got {spacing!r}")
    elif S == 1:
        rising = [T - 1]
    elif spacing == "linspace":
        rising = [round(Fraction(i * (T - 1), S - 1)) for i in range(S)]
    else:
        rising = [max(i, (T - 1) * i * i // (S - 1) ** 2) for i in range(S)]
    return rising[::-1]


def even_in_log_snr(num_steps: int, alpha_bars: Sequence[float]) -> list[int]:
    """`num_steps` distinct places in a falling table, rising, the nearest to even distances in log(alpha_bar / (1 - alpha_bar)).

    From the first to the last; where several targets have one nearest place, its neighbours take them. An alpha_bar of 0, which
    is infinitely far off, counts as one more step like the one before it.
    """
    S, T = num_steps, len(alpha_bars)
    if S in (1, T):
        return list(range(T))[-S:]
    log_snr = [math.log(value / (1 - value)) for value in alpha_bars if value > 0]
    log_snr += [2 * log_snr[-1] - log_snr[-2]] * (T - len(log_snr))
    nearest = np.interp(np.linspace(-log_snr[0], -log_snr[-1], S), np.negative(log_snr), np.arange(T)).round().astype(int)
    rising = [-1]
    for i, place in enumerate(nearest.tolist()):
        rising.append(min(max(place, rising[-1] + 1), T - S + i))
    return rising[1:]


def _checked(num_steps: int, num_train_timesteps: int) -> int:
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(f"steps must be in 1..{num_train_timesteps}, the timesteps this model was trained on; got {num_steps}")
    return num_steps


def betas(kind: str = "linear", num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """Forward-process variances beta_t (DDPM Eq. 2), float64 of shape (T,).

    The defaults of `linear` are DDPM's (section 4) and are meant for T = 1000; for another T scale both ends by 1000 / T
    to keep the same total noise. `squaredcos_cap_v2` is the cosine schedule (arXiv:2102.09672, Eq. 17) with betas capped
    at 0.999 and takes no ends; neither do `laplace` (arXiv:2407.03297), capped alike, and `exp`, alpha_bar = exp(-12 t / T).
    """
    T = num_train_timesteps
    part = torch.arange(T + 1, dtype=torch.float64) / T
    if kind == "linear":
        return torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
    if kind == "scaled_linear":
        return torch.linspace(beta_start**0.5, beta_end**0.5, T, dtype=torch.float64) ** 2
    if kind == "sigmoid":
        return torch.linspace(-6, 6, T, dtype=torch.float64).sigmoid() * (beta_end - beta_start) + beta_start
    if kind == "squaredcos_cap_v2":
        return _from_signal((((part + 0.008) / 1.008) * math.pi / 2).cos() ** 2)
    if kind == "laplace":
        log_snr = -0.5 * torch.where(part > 0.5, -1.0, 1.0) * (1 - 2 * (0.5 - part).abs() + 1e-6).log()
        return _from_signal(log_snr.sigmoid().sqrt())
    if kind == "exp":
        return _from_signal((-12 * part).exp())
    raise ValueError(f"beta_schedule must be one of {', '.join(BETA_SCHEDULES)}; got {kind!r}")


def _from_signal(alpha_bar: Tensor) -> Tensor:
    """The betas of alpha_bar at 0, 1/T, ..., 1, each at most 0.999."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


def cumulative(beta: Tensor, zero_terminal_snr: bool = False) -> Tensor:
    """alpha_bar_t = prod_{s <= t} (1 - beta_s), DDPM section 2, in float64.

    With `zero_terminal_snr` the table of sqrt(alpha_bar) is shifted and scaled so that the last entry is exactly 0 and the
    first is kept (arXiv:2305.08891, Algorithm 1).
    """
    alphas_cumprod = (1 - beta.double()).cumprod(0)
    if not zero_terminal_snr:
        return alphas_cumprod
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def from_config(config: Mapping[str, Any]) -> Schedule:
    """The schedule that a diffusers scheduler config describes, old layouts (`timesteps` for T) included.

    Raises ValueError, naming the key, when a value is missing its range. What a config leaves out has diffusers' default.
    """
    T = whole("num_train_timesteps", config.get("num_train_timesteps", config.get("timesteps", 1000)), 1, 100_000)
    trained = config.get("trained_betas")
    if trained is not None:
        beta = torch.as_tensor(trained, dtype=torch.float64)
    else:
        ends = {key: _beta(key, config[key]) for key in ("beta_start", "beta_end") if key in config}
        beta = betas(config.get("beta_schedule", "linear"), T, **ends)
    variance = choice("variance_type", config.get("variance_type", "fixed_small"), tuple(VARIANCE_TYPES))
    clips = config.get("clip_sample", config.get("clip_predicted_image", True))
    return Schedule(
        cumulative(beta, bool(config.get("rescale_betas_zero_snr", False))),
        prediction_type=config.get("prediction_type", "epsilon" if config.get("predict_epsilon", True) else "sample"),
        variance=VARIANCE_TYPES[variance],
        clip="dynamic" if config.get("thresholding") else "clip" if clips else "off",
        clip_range=real("clip_sample_range", config.get("clip_sample_range", 1.0), 1e-3, 1e3),
        learned=variance if variance.startswith("learned") else "",
    )


def _beta(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ValueError(f"{key} must be a number between 0 and 1; got {value!r}")
    return float(value)
