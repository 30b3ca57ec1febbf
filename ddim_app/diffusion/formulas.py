"""The formulas of DDPM (arXiv:2006.11239) and DDIM (arXiv:2010.02502), as pure functions.

Pictures are tensors of shape (N, C, H, W). A noise level is `alpha_bar`, either one float for all pictures or a float64
tensor of shape (N,), one level per picture; roots are taken in float64 and only then cast to the pictures' dtype, since
1 - alpha_bar[0] in float32 is already wrong by 1.7e-4.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ddim_app.lazy import Tensor, torch

CLIP_RULES = ("clip", "off", "dynamic")


Scalar = float | Tensor


class Roots(NamedTuple):
    """A noise level as its two factors, sqrt(alpha_bar) and sqrt(1 - alpha_bar), or Eq. 12's, which leave room for sigma."""

    signal: Scalar
    noise: Scalar


def add_noise(x0: Tensor, noise: Tensor, alpha_bar: Scalar) -> Tensor:
    """x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise: the closed-form forward process, DDPM Eq. 4."""
    return _sqrt(alpha_bar, x0) * x0 + _sqrt(1 - alpha_bar, x0) * noise


def predict_x0(x_t: Tensor, eps: Tensor, alpha_bar: Scalar | Roots) -> Tensor:
    """The clean picture that (x_t, eps) stands for: DDIM Eq. 9. Needs alpha_bar > 0."""
    signal, noise = _level(alpha_bar, x_t)
    return (x_t - noise * eps) / signal


def predict_eps(x_t: Tensor, pred_x0: Tensor, alpha_bar: Scalar | Roots) -> Tensor:
    """The noise that (x_t, pred_x0) stands for; the inverse of predict_x0. Needs alpha_bar < 1."""
    signal, noise = _level(alpha_bar, x_t)
    return (x_t - signal * pred_x0) / noise


def denoise(output: Tensor, x_t: Tensor, alpha_bar: Scalar | Roots, prediction_type: str = "epsilon") -> tuple[Tensor, Tensor]:
    """(pred_x0, eps) from what the network returned for x_t; of an output with more channels, such as a variance's, the first ones.

    `v_prediction` is v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0 (arXiv:2202.00512, D). It and `sample` also work at
    alpha_bar = 0, where epsilon leaves x0 undetermined.
    """
    output = output[:, : x_t.shape[1]]
    if prediction_type == "epsilon":
        return predict_x0(x_t, output, alpha_bar), output
    if prediction_type == "sample":
        return output, predict_eps(x_t, output, alpha_bar)
    signal, noise = _level(alpha_bar, x_t)
    return signal * x_t - noise * output, signal * output + noise * x_t


def ddim_sigma(alpha_bar: float, alpha_bar_next: float, eta: float) -> float:
    """Standard deviation of the noise of one transition, DDIM Eq. 16, capped where Eq. 12 stays defined.

    sigma = min(eta sigma(1), sqrt(1 - alpha_bar_next)) with sigma(1)^2 = (1 - alpha_bar_next) / (1 - alpha_bar)
    (1 - alpha_bar / alpha_bar_next), the DDPM posterior variance. The cap keeps the marginals of Eq. 7 at every eta; it can
    only bind for eta > 1. Into the clean level sigma is 0, and so it is for eta = 0 in either direction.
    """
    if eta == 0:
        return 0.0
    return min(eta * _posterior_std(alpha_bar, alpha_bar_next), math.sqrt(1 - alpha_bar_next))


def ddim_sigma_is_capped(alpha_bar: float, alpha_bar_next: float, eta: float) -> bool:
    """Whether ddim_sigma had to cap eta sigma(1)."""
    return eta * _posterior_std(alpha_bar, alpha_bar_next) > math.sqrt(1 - alpha_bar_next)


def sigma_hat(alpha_bar: float, alpha_bar_next: float) -> float:
    """DDPM's larger noise, sqrt(1 - alpha_bar / alpha_bar_next): beta_t for neighbouring steps (DDIM D.3).

    It replaces the added noise only; the direction term of Eq. 12 keeps sigma(1). No noise goes into the clean level.
    """
    return 0.0 if alpha_bar_next == 1.0 else math.sqrt(1 - alpha_bar / alpha_bar_next)


def analytic_std(alpha_bar: float, alpha_bar_next: float, sigma: float, residual: float) -> float:
    """Standard deviation of one transition's noise with which it keeps the true variance, where sigma is Eq. 12's.

    sqrt(sigma^2 + (sqrt(b) - sqrt(1 - b - sigma^2) sqrt(a / (1 - a)))^2 V) with a, b the two alpha_bar, and V = E|x0 - pred_x0|^2 a
    dimension at the first (Analytic-DPM, arXiv:2201.06503, in the residual form of arXiv:2206.07309): what the next level varies
    by because x0 is not known. The form by E|eps|^2 takes nearly 1 from 1 at high noise. 0 into the clean level, as for the others.
    """
    if alpha_bar_next == 1.0:
        return 0.0
    room = math.sqrt(max(1 - alpha_bar_next - sigma**2, 0.0))
    return math.hypot(sigma, (math.sqrt(alpha_bar_next) - room * math.sqrt(alpha_bar / (1 - alpha_bar))) * math.sqrt(residual))


def learned_exponents(variance: str, alpha_bar: float, alpha_bar_next: float) -> tuple[float, float]:
    """(a, b): a network's v says the standard deviation sigma(1) exp(a + b v) of a transition's noise.

    "learned_range" lies between both fixed variances, exp((v + 1) / 2 log beta + (1 - v) / 2 log beta-tilde), arXiv:2102.09672,
    Eq. 15, with v from -1 to 1; "learned" is the variance's logarithm itself, exp(v). (0, 0) for a variance that is not learned,
    and into the clean level, where no noise goes.
    """
    if not variance.startswith("learned") or alpha_bar_next == 1.0:
        return 0.0, 0.0
    small = _posterior_std(alpha_bar, alpha_bar_next)
    if variance == "learned":
        return -math.log(small), 0.5
    half = 0.5 * math.log(sigma_hat(alpha_bar, alpha_bar_next) / small)
    return half, half


def ddim_step(pred_x0: Tensor, eps: Tensor, alpha_bar_next: Scalar | Roots, sigma: Scalar = 0.0) -> Tensor:
    """The next level's picture before noise is added, DDIM Eq. 12 without its last term.

    sqrt(alpha_bar_next) pred_x0 + sqrt(1 - alpha_bar_next - sigma^2) eps. With sigma = 0 this is the whole deterministic
    step, and the same formula runs in both directions; else the caller adds noise of standard deviation sigma. The two factors
    may be given in place of alpha_bar_next.
    """
    if isinstance(alpha_bar_next, Roots):
        return alpha_bar_next.signal * pred_x0 + alpha_bar_next.noise * eps
    direction = 1 - alpha_bar_next - sigma**2
    direction = direction.clamp(min=0) if isinstance(direction, torch.Tensor) else max(direction, 0.0)
    return _sqrt(alpha_bar_next, pred_x0) * pred_x0 + _sqrt(direction, eps) * eps


def ddpm_posterior(x_t: Tensor, x0: Tensor, alpha_bar: float, alpha_bar_next: float) -> tuple[Tensor, float]:
    """Mean and variance of q(x_next | x_t, x0), DDPM Eq. 6-7, for any two levels of one chain.

    With ratio = alpha_bar / alpha_bar_next in the role of alpha_t (so 1 - ratio is beta_t between neighbours).
    """
    ratio = alpha_bar / alpha_bar_next
    of_x0 = math.sqrt(alpha_bar_next) * (1 - ratio) / (1 - alpha_bar)
    of_x_t = math.sqrt(ratio) * (1 - alpha_bar_next) / (1 - alpha_bar)
    return of_x0 * x0 + of_x_t * x_t, (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - ratio)


def clipped(pred_x0: Tensor, rule: str, limit: float = 1.0) -> Tensor:
    """The predicted clean picture treated by one of CLIP_RULES: "clip" to [-limit, limit], "dynamic" threshold, or "off".

    The eps that goes with the result is derived again by `predict_eps`, so that both still explain x_t.
    """
    if rule == "clip":
        return pred_x0.clamp(-limit, limit)
    return dynamic_threshold(pred_x0, limit) if rule == "dynamic" else pred_x0


def clipped_rows(
    pred_x0: Tensor, eps: Tensor, x_t: Tensor, level: Roots, rules: Sequence[str], limit: float
) -> tuple[Tensor, Tensor]:
    """pred_x0 treated by each row's rule, with the eps that still explains x_t (DDPM's mean from the clipped x0)."""
    for rule in set(rules) - {"off"}:
        treated = clipped(pred_x0, rule, limit)
        derived = predict_eps(x_t, treated, level)
        if all(other == rule for other in rules):
            return treated, derived
        chosen = placed(torch.tensor([other == rule for other in rules]), x_t.device).view(-1, 1, 1, 1)
        pred_x0, eps = torch.where(chosen, treated, pred_x0), torch.where(chosen, derived, eps)
    return pred_x0, eps


def dynamic_threshold(pred_x0: Tensor, limit: float = 1.0, ratio: float = 0.995) -> Tensor:
    """pred_x0 scaled back into [-limit, limit] by its own `ratio` quantile (arXiv:2205.11487, section 2.3), per picture."""
    flat = pred_x0.flatten(1)
    scale = flat.abs().quantile(ratio, dim=1, keepdim=True).clamp(min=limit)
    return (flat.clamp(-scale, scale) / scale * limit).view_as(pred_x0)


def _posterior_std(alpha_bar: float, alpha_bar_next: float) -> float:
    return math.sqrt((1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next))


def roots(levels: Tensor, x: Tensor) -> tuple[Roots, Roots]:
    """The factors of the two levels of each row's transition, the second those of Eq. 12, for the rows of x.

    `levels` is float64 (3, N) on the CPU: alpha_bar, alpha_bar_next and sigma. Roots are taken in float64, and go to the device
    of x together: each transfer costs a GPU as much as a step of the formulas.
    """
    alpha_bar, alpha_bar_next, sigma = levels
    direction = (1 - alpha_bar_next - sigma**2).clamp(min=0)
    factors = placed(torch.stack((alpha_bar, 1 - alpha_bar, alpha_bar_next, direction)).sqrt().to(x.dtype), x.device)
    signal, noise, signal_next, noise_next = factors.view(4, -1, *[1] * (x.ndim - 1)).unbind()
    return Roots(signal, noise), Roots(signal_next, noise_next)


def _level(alpha_bar: Scalar | Roots, x: Tensor) -> Roots:
    """The factors of a level for x, which may be given already."""
    return alpha_bar if isinstance(alpha_bar, Roots) else Roots(_sqrt(alpha_bar, x), _sqrt(1 - alpha_bar, x))


def _sqrt(value: Scalar, x: Tensor) -> Scalar:
    """sqrt(value), taken in float64; a tensor of one value per picture comes back broadcastable to x, in its dtype."""
    if isinstance(value, torch.Tensor):
        return placed(value.sqrt().to(x.dtype), x.device).view(-1, *[1] * (x.ndim - 1))
    return math.sqrt(value)


def placed(values: Tensor, device: "torch.device") -> Tensor:
    """The values on `device`, without waiting for what a GPU has still to do."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
