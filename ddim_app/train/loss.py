"""The training loss, over the samplers' own forward process."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ddim_app.diffusion.formulas import add_noise
from ddim_app.diffusion.sampler import Predict
from ddim_app.diffusion.schedule import Schedule


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


def row_losses(predict: Predict, x0: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Tensor:
    """Mean squared error of each row, float32 (N,): DDPM (arXiv:2006.11239) Eq. 14 for epsilon.

    x0 and noise are (N, C, H, W), t is int64 (N,) on the CPU, where the float64 table of the schedule is.
    """
    alpha_bar = schedule.alphas_cumprod[t]
    output = predict(add_noise(x0, noise, alpha_bar), t.to(x0.device))
    wanted = target(x0, noise, alpha_bar, schedule.prediction_type)
    return (output.float() - wanted).square().flatten(1).mean(1)


def loss(
    predict: Predict, x0: Tensor, t: Tensor, noise: Tensor, schedule: Schedule, min_snr: float | None = None
) -> tuple[Tensor, Tensor]:
    """(the mean that is minimised, the plain mean that is shown)."""
    rows = row_losses(predict, x0, t, noise, schedule)
    plain = rows.detach().mean()
    if min_snr is None:
        return rows.mean(), plain
    factors = weight(schedule.alphas_cumprod[t], schedule.prediction_type, min_snr)
    return (rows * factors.to(rows)).mean(), plain


def bucket_means(losses: Tensor, t: Tensor, num_train_timesteps: int, buckets: int = 10) -> Sequence[float]:
    """Mean loss of each of `buckets` equal parts of the timesteps, least noise first; NaN where there is none."""
    part = t * buckets // num_train_timesteps
    return [float(losses[part == i].mean()) for i in range(buckets)]
