"""What runs of paths and mixes tell, and what is collected of it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from ddim_app.diffusion.latent_paths import norms
from ddim_app.diffusion.metrics import Smoothness, rmse, smoothness
from ddim_app.diffusion.sampler import Step
from ddim_app.lazy import Tensor


class PathStart(NamedTuple):
    """The start of a path: the x_T of its ends and of its frames, before the first step."""

    k: int
    ends: Tensor
    """(ends, C, H, W), on the CPU."""
    latents: Tensor
    """(frames, C, H, W), on the CPU."""
    is_finite: bool = True


class MixStart(NamedTuple):
    """The two pictures and their mix in pixels, before the chain begins."""

    k: int
    ends: Tensor
    """(2, C, H, W) in [-1, 1], on the CPU."""
    pixels: Tensor
    """(frames, C, H, W): the mix of the pixels, which is level 0."""
    norms: list[list[float]]
    """The norms of the mixes along lambda, for each level."""
    is_finite: bool = True


class FramesStep(NamedTuple):
    """All frames of one arm after one transition."""

    arm: int
    k: int
    """0-based number of the run's step."""
    at: int
    """0-based number of the arm's own transition."""
    steps: int
    """How many transitions the arm has."""
    x: Tensor
    """(frames, C, H, W), on the CPU; of the last transition the pictures."""
    pred_x0: Tensor

    @property
    def is_last(self) -> bool:
        return self.at == self.steps - 1


def cells_of(step: Step, lengths: Sequence[int], cells: int, before: int = 0) -> Iterator[FramesStep]:
    """The arms that a step moved, each of `cells` rows and its own length; `before` steps were something else's."""
    step = step.on_host()
    x, pred_x0 = step.x_next, step.pred_x0
    for start in range(0, len(step.rows), cells):
        arm, chosen = step.rows[start] // cells, slice(start, start + cells)
        yield FramesStep(arm, before + step.k, step.k, lengths[arm], x[chosen], pred_x0[chosen])


class CollectedFrames:
    """The tensors that a run has reported so far."""

    def __init__(self, plan: Any) -> None:
        self.plan = plan
        self.ends: Tensor | None = None
        """x_T of a path's ends; the two pictures of a mix."""
        self.latents: Tensor | None = None
        """x_T of a path's frames."""
        self.levels: list[list[float]] = []
        """Norms of x_t along each level of a mix."""
        self.finals: dict[int, Tensor] = {}
        self.newest: dict[int, FramesStep] = {}

    def add(self, frame: object) -> None:
        """Takes one of the run's frames."""
        if isinstance(frame, PathStart):
            self.ends, self.latents = frame.ends, frame.latents
        elif isinstance(frame, MixStart):
            self.ends, self.levels = frame.ends, frame.norms
            self.finals |= {i: frame.pixels for i, row in enumerate(self.plan.rows) if row.transitions == 0}
        elif isinstance(frame, FramesStep):
            self.newest[frame.arm] = frame
            if frame.is_last:
                self.finals[frame.arm] = frame.x

    @property
    def result(self) -> Self:
        return self

    @property
    def is_complete(self) -> bool:
        return self.ends is not None and len(self.finals) == len(self.plan.rows)

    @property
    def pictures(self) -> list[Tensor]:
        """The finished pictures of each row of frames, (frames, C, H, W)."""
        return [self.finals[i] for i in sorted(self.finals)]

    def smoothness(self) -> list[Smoothness]:
        """The smoothness of each finished row of frames."""
        return [smoothness(pictures, self.plan.recipe.neighbours) for pictures in self.pictures]

    def norms(self) -> list[float]:
        """The norm of each frame's x_T over sqrt(D)."""
        values: list[float] = [] if self.latents is None else norms(self.latents).tolist()
        return values

    def reconstructions(self) -> list[tuple[float, float]]:
        """RMSE in levels of each row's frames at lambda 0 and 1 to the two pictures: the Rec. columns of DDPM's Fig. 9."""
        if self.ends is None or not self.levels:
            return []
        ends = self.ends
        return [(float(rmse(x[:1], ends[:1])), float(rmse(x[-1:], ends[1:]))) for x in self.pictures]
