"""The training loop: the loss, over the samplers' own forward process, and a generator of steps.

Whoever drives it logs, previews, saves and stops.
"""

import contextlib
import itertools
import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ddim_app.diffusion.formulas import add_noise
from ddim_app.diffusion.sampler import Predict
from ddim_app.diffusion.schedule import Schedule
from ddim_app.train.batches import Batch, Batches, BatchesAhead
from ddim_app.train.config import Settings
from ddim_app.train.keyed_random import DropoutRows
from ddim_app.train.state import TrainingState
from ddim_app.train.stop import Stopper


class OptimizerStep(NamedTuple):
    """One optimiser step."""

    step: int
    """How many have been made, this one included."""
    loss: Tensor
    """Mean squared error of this process's rows, unweighted, on the device."""
    grad_norm: Tensor
    """Norm of the gradient over all processes, before clipping."""
    lr: float


@dataclass
class Trainer:
    """Everything that a step needs. `network` is what Accelerate made of the state's network."""

    accelerator: Accelerator
    settings: Settings
    schedule: Schedule
    batches: Batches
    state: TrainingState
    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    """The state's optimiser as Accelerate wrapped it."""
    dropout_rows: DropoutRows
    steps: int
    stopper: Stopper
    begun: int = 0
    """The step at which the learning rate began to rise: that at which a finished run was gone on with."""

    def train(self) -> Generator[OptimizerStep, None, None]:
        """Steps from the state's own up to `steps`, which may change on the way. When the generator is closed, the state is that
        after the last one yielded."""
        on_gpu = self.accelerator.device.type == "cuda"
        self.ahead = BatchesAhead(self._batches_of, itertools.count(self.state.step), 4 if on_gpu else 1)
        try:
            self.network.train()
            while self.state.step < self.steps:
                yield self._step(self.ahead.next())
        finally:
            self.ahead.close()

    def _batches_of(self, step: int) -> list[Batch]:
        """This process's part of a step: `accumulate` batches of `batch_size` rows of the global batch."""
        size, world, rank = self.settings.batch_size, self.accelerator.num_processes, self.accelerator.process_index
        return [self.batches.rows(step, (k * world + rank) * size, size) for k in range(self.settings.accumulate)]

    def _step(self, batches: list[Batch]) -> OptimizerStep:
        # The gradient may be dropped at any point; from the update on the step is completed first. With several processes
        # all must stop at the same step, which whoever drives the loop sees to.
        with self.stopper.interruptible():
            mean = torch.stack([self._backward(batch, batch is batches[-1]) for batch in batches]).mean()
            norm = self.accelerator.clip_grad_norm_(self.state.network.parameters(), self.settings.clip_norm)
        lr = learning_rate(self.state.step - self.begun, self.steps - self.begun, self.settings)
        for group in self.state.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        for name, average in self.state.averages.items():
            update_average(average, self.state.network, self.state.step, self.settings.ema_max, EMA_LENGTHS[name])
        self.state.step += 1
        return OptimizerStep(self.state.step, mean, norm, lr)

    def _backward(self, batch: Batch, last: bool) -> Tensor:
        self.dropout_rows.step, self.dropout_rows.first = batch.step, batch.first
        device = self.accelerator.device
        # Processes exchange gradients once per step, with the last of its batches.
        exchange = contextlib.nullcontext() if last else self.accelerator.no_sync(self.network)
        with exchange, self._attention():
            minimised, shown = loss(
                self._predict, batch.x0.to(device), batch.t, batch.noise.to(device), self.schedule, self.settings.min_snr, batch.y
            )
            self.accelerator.backward(minimised / self.settings.accumulate)
        return shown

    def _attention(self) -> contextlib.AbstractContextManager[None]:
        """On a CPU, attention as two matrix products: a tenth off the step for the few positions of these networks."""
        if self.accelerator.device.type != "cpu":
            return contextlib.nullcontext()
        kernel: contextlib.AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
        return kernel

    def _predict(self, *given: Tensor) -> Tensor:
        output: Tensor = self.network(*given, return_dict=False)[0]
        return output


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """The rate of the 0-based `step`: a linear rise over the warm-up, then constant, then to zero over the second half.

    A function of the step instead of a scheduler object: nothing to store, and nothing that steps once per process.
    """
    warmup = min(settings.warmup, steps // 10)
    rise = min(1.0, (step + 1) / (warmup + 1))
    fall = min(1.0, 2 * (1 - step / steps)) if settings.lr_decay == "half" else 1.0
    return settings.lr * min(rise, fall)


def make_optimizer(network: torch.nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW over two groups: biases and norms (vectors) are not decayed unless asked, since nothing pulls a scale to zero."""
    decayed = [p for p in network.parameters() if p.ndim > 1 or settings.decay_norms]
    others = [p for p in network.parameters() if not (p.ndim > 1 or settings.decay_norms)]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.lr, fused=True)


def is_broken(done: OptimizerStep, precision: str) -> bool:
    """Whether the run has diverged. fp16 may overflow in a gradient: its scaler skips that step by itself."""
    norm = float(done.grad_norm)
    return not math.isfinite(float(done.loss)) or (precision != "fp16" and not math.isfinite(norm))


EMA_LENGTHS = {"": 1.0, "short": 1 / 3, "long": 3.0}
"""The averages of a run, "" the one that is published, and how much longer than that each is."""


def ema_decay(step: int, longest: float, length: float = 1.0) -> float:
    """min(longest, (1 + step) / (10 + step)): after `step` updates the average spans about the last tenth of them.

    An average `length` times as long moves by so many times less.
    A fixed 0.9999 remembers 10,000 steps, so after 2,000 the start still has 82 % of the weight and a model from scratch
    samples noise. With this ramp the start's share is that of a product falling like 1 / step^9.
    """
    return 1 - min(1.0, (1 - min(longest, (1 + step) / (10 + step))) / length)


@torch.no_grad()
def update_average(average: nn.Module, current: nn.Module, step: int, longest: float, length: float = 1.0) -> None:
    """Moves the averaged weights towards the current ones after the optimiser's step number `step` (0-based)."""
    pairs = list(zip(average.parameters(), current.parameters(), strict=True))
    torch._foreach_lerp_(_data(a for a, _ in pairs), _data(c for _, c in pairs), 1 - ema_decay(step, longest, length))


def _data(parameters: Iterable[nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.data for parameter in parameters]


def target(x0: Tensor, noise: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """What the network should return: noise, x0, or v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x0 (arXiv:2202.00512, D)."""
    if prediction_type == "epsilon":
        return noise
    return x0 if prediction_type == "sample" else add_noise(noise, -x0, alpha_bar)


def weight(alpha_bar: Tensor, prediction_type: str, gamma: float) -> Tensor:
    """min-SNR-gamma weight of each row, (N,): min(SNR, gamma) in terms of x0 (arXiv:2303.09556, Eq. 9 and appendix).

    An error of eps is SNR times smaller in x0, and one of v SNR + 1 times.
    """
    snr = alpha_bar / (1 - alpha_bar)
    capped = snr.clamp(max=gamma)
    if prediction_type == "sample":
        return capped
    return capped / (snr + 1) if prediction_type == "v_prediction" else torch.where(snr > 0, capped / snr, 1.0)


def row_losses(predict: Predict, x0: Tensor, t: Tensor, noise: Tensor, schedule: Schedule, y: Tensor | None = None) -> Tensor:
    """Mean squared error of each row, float32 (N,): DDPM (arXiv:2006.11239) Eq. 14 for epsilon.

    x0 and noise are (N, C, H, W), t is int64 (N,) on the CPU, where the float64 table of the schedule is; y are their classes.
    """
    alpha_bar = schedule.alphas_cumprod[t]
    output = predict(add_noise(x0, noise, alpha_bar), *(each.to(x0.device) for each in (t, y) if each is not None))
    wanted = target(x0, noise, alpha_bar, schedule.prediction_type)
    return (output.float() - wanted).square().flatten(1).mean(1)


def loss(
    predict: Predict, x0: Tensor, t: Tensor, noise: Tensor, schedule: Schedule, min_snr: float | None = None,
    y: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(the mean that is minimised, the plain mean that is shown)."""
    rows = row_losses(predict, x0, t, noise, schedule, y)
    plain = rows.detach().mean()
    if min_snr is None:
        return rows.mean(), plain
    factors = weight(schedule.alphas_cumprod[t], schedule.prediction_type, min_snr)
    return (rows * factors.to(rows)).mean(), plain
