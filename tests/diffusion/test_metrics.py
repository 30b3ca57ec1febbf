"""PSNR and SSIM against their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddim_app.diffusion.metrics import mse, patch_rmse, psnr, rmse, settled, ssim
from tests import toys


def ssim_window_by_window(a, b, size):
    """Wang et al. 2004, Eq. 13, on [0, 1], from numpy's own covariance: one window at a time, one channel at a time."""
    values = []
    for channel_a, channel_b in zip(a / 2 + 0.5, b / 2 + 0.5, strict=True):
        for top in range(channel_a.shape[0] - size + 1):
            for left in range(channel_a.shape[1] - size + 1):
                p = channel_a[top : top + size, left : left + size].ravel()
                q = channel_b[top : top + size, left : left + size].ravel()
                cov = np.cov(p, q)
                luminance = (2 * p.mean() * q.mean() + 0.01**2) / (p.mean() ** 2 + q.mean() ** 2 + 0.01**2)
                values.append(luminance * (2 * cov[0, 1] + 0.03**2) / (cov[0, 0] + cov[1, 1] + 0.03**2))
    return np.mean(values)


def test_mse_is_on_the_unit_scale_and_per_picture():
    black, white = -torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert mse(torch.cat((black, black)), torch.cat((white, black))).tolist() == [1.0, 0.0]
    grey = mse(black, black + 2 / 255)
    assert (grey.dtype, grey.item()) == (torch.float64, pytest.approx(1 / 255**2, rel=1e-5))


def test_psnr_of_known_pictures():
    x = torch.zeros(1, 3, 4, 4)
    assert psnr(x, x + 0.2).item() == pytest.approx(20.0, abs=1e-5)  # 0.1 of the range
    assert psnr(x, x + 2 / 255).item() == pytest.approx(20 * math.log10(255), abs=1e-5)
    assert psnr(x, x).item() == math.inf


@pytest.mark.parametrize(("height", "width", "size"), [(10, 9, 7), (7, 12, 7), (5, 8, 5), (8, 3, 3)])
def test_ssim_is_its_definition_window_by_window(height, width, size):
    """Pictures smaller than the window of 7 have a smaller one."""
    a, b = toys.pictures(4, (3, height, width)).div(2).tanh().chunk(2)
    b = 0.6 * a + 0.4 * b
    expected = [ssim_window_by_window(p, q, size) for p, q in zip(a.numpy(), b.numpy(), strict=True)]
    assert ssim(a, b).tolist() == pytest.approx(expected, abs=1e-10)
    assert min(expected) < 0.9


@given(st.integers(0, 1000))
def test_ssim_is_symmetric_and_1_for_equal_pictures_alone(seed):
    a, b = toys.pictures(2, (1, 8, 8), seed).tanh()[:, None]
    assert ssim(a, a).item() == pytest.approx(1.0, abs=1e-12)
    assert ssim(a, b).item() == pytest.approx(ssim(b, a).item(), abs=1e-12)
    assert ssim(a, b) < 0.999


def test_ssim_of_single_pixels_is_defined():
    assert ssim(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)).item() == pytest.approx(1.0)


def test_metrics_of_a_batch_are_those_of_its_pictures():
    a, b = toys.pictures(6, (3, 9, 9)).tanh().chunk(2)
    for metric in (mse, psnr, ssim):
        together = metric(a, b)
        assert together.shape == (3,)
        torch.testing.assert_close(together, torch.cat([metric(a[i : i + 1], b[i : i + 1]) for i in range(3)]), rtol=1e-12, atol=0)


def test_the_worst_patch_is_found_where_few_pixels_are_wrong():
    """Ten wrong pixels of 32 x 32 by 50 levels: 4.9 in the whole picture, 39.5 in their patch."""
    a = torch.zeros(1, 3, 32, 32)
    b = a.clone()
    b[..., 10:12, 20:24] += 100 / 255
    b[..., 12, 20:22] += 100 / 255
    assert float(rmse(a, b)) == pytest.approx(50 * (10 / 1024) ** 0.5)
    assert float(patch_rmse(a, b)) == pytest.approx(50 * (10 / 16) ** 0.5)
    assert float(patch_rmse(a, a)) == 0
    assert float(patch_rmse(a[..., :2, :2], a[..., :2, :2] + 2 / 255)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("distances", "patches", "first"),
    [
        ([9, 4, 6, 3, 0], [0, 0, 0, 0, 0], 3),  # once under the limit is not yet settled
        ([4, 4, 4], [20, 15, 14.9], 2),  # an eye is still wrong
        ([1, 1], [1, 1], 0),
        ([1, 9], [1, 1], None),
        ([5.0], [0], None),
    ],
)
def test_a_row_is_settled_from_where_it_stays_near(distances, patches, first):
    assert settled(distances, patches) == first
