"""Ways between latents against closed forms, and as properties of any ends."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddim_app.diffusion import latent_paths
from ddim_app.diffusion.latent_paths import WAYS, norms, spread
from ddim_app.diffusion.noise import initial_noise

RGB = (3, 8, 8)
seeds = st.integers(0, 2**32 - 1)
places = st.floats(-1, 2, allow_nan=False)
ways = pytest.mark.parametrize("way", WAYS)


def noise(*names: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return initial_noise(names, RGB).to(dtype)


def at_norm(x: torch.Tensor, norm: float) -> torch.Tensor:
    """Latents of one norm, |x| / sqrt(D)."""
    return x * (norm / norms(x)).view(-1, 1, 1, 1)


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    u, v = (x.flatten() / x.norm() for x in (a, b))
    return 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, len(values), 1, 1)


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.9, 1.0, -0.5, 1.5])
def test_slerp_in_the_plane_is_the_circle(at: float) -> None:
    got = latent_paths.slerp(vector(2, 0), vector(0, 2), [at]).flatten()
    expected = [2 * math.cos(at * math.pi / 2), 2 * math.sin(at * math.pi / 2)]
    assert got.tolist() == pytest.approx(expected, abs=1e-15)


@given(seeds, seeds, places)
def test_slerp_is_shoemakes_formula_where_that_is_defined(a: int, b: int, at: float) -> None:
    """And its norm is constant for ends of equal norm."""
    x, y = at_norm(noise(a), 1), at_norm(noise(b), 1)
    theta = angle(x, y)
    got = latent_paths.slerp(x, y, [at])
    assert float(norms(got)) == pytest.approx(1, abs=1e-12)
    if theta > 1e-3:
        expected = (math.sin((1 - at) * theta) * x + math.sin(at * theta) * y) / math.sin(theta)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-11)


def test_slerps_norm_is_constant_in_single_precision_too() -> None:
    x, y = (at_norm(noise(seed, dtype=torch.float32), 1).float() for seed in (1, 2))
    walked = latent_paths.line(spread(101))(torch.cat((x, y)))
    assert walked.dtype == torch.float32
    assert float((norms(walked) - 1).abs().max()) < 1e-6


@given(seeds, seeds, st.floats(0.5, 2), st.floats(0.5, 2), st.floats(0, 1))
def test_norms_go_linearly_between_the_ends(a: int, b: int, first: float, last: float, at: float) -> None:
    x, y = at_norm(noise(a), first), at_norm(noise(b), last)
    for way in ("slerp", "restored"):
        assert float(norms(WAYS[way](x, y, [at]))) == pytest.approx((1 - at) * first + at * last, rel=1e-9)


@ways
@given(seeds, seeds, st.sampled_from([torch.float32, torch.float64]))
def test_ends_are_exact(way: str, a: int, b: int, dtype: torch.dtype) -> None:
    x, y = noise(a, dtype=dtype), noise(b, dtype=dtype)
    walked = latent_paths.line([0.0, 0.3, 1.0], way)(torch.cat((x, y)))
    assert walked.dtype == dtype
    assert torch.equal(walked[:1], x)
    assert torch.equal(walked[2:], y)


@ways
@given(seeds, places)
def test_equal_ends_give_themselves(way: str, seed: int, at: float) -> None:
    x = noise(seed)
    torch.testing.assert_close(WAYS[way](x, x.clone(), [at]), x, rtol=0, atol=1e-12)
    single = x.float()
    torch.testing.assert_close(WAYS[way](single, single.clone(), [at]), single, rtol=0, atol=1e-6)


@given(seeds, st.floats(0, 1))
def test_opposite_ends_turn_in_the_plane_of_the_quarter_turn(seed: int, at: float) -> None:
    x = noise(seed)
    turned = latent_paths.quarter_turn(x.flatten(1)).view_as(x)
    expected = math.cos(at * math.pi) * x + math.sin(at * math.pi) * x.norm() * turned
    torch.testing.assert_close(latent_paths.slerp(x, -x, [at]), expected, rtol=0, atol=1e-11)
    assert float(norms(latent_paths.restored(x, -x, [0.5]))) == pytest.approx(float(norms(x)))
    assert float(latent_paths.lerp(x, -x, [0.5]).norm()) == 0


@given(st.lists(st.floats(-100, 100).filter(lambda v: abs(v) > 1e-3 or v == 0), min_size=2, max_size=7).filter(any))
def test_a_quarter_turn_is_orthogonal_and_of_length_one(values: list[float]) -> None:
    x = torch.tensor([values], dtype=torch.float64)
    turned = latent_paths.quarter_turn(x)
    assert float(turned.norm()) == pytest.approx(1)
    assert float((x / x.norm() * turned).sum()) == pytest.approx(0, abs=1e-12)


@given(seeds, st.sampled_from([0.0, 1e-13, 1e-9, 1e-5, 1.0]), st.floats(0, 1))
def test_nearly_equal_and_nearly_opposite_ends_stay_finite_and_continuous(seed: int, apart: float, at: float) -> None:
    x = at_norm(noise(seed), 1)
    near = x + apart * noise((seed + 1) % 2**32)
    assert angle(latent_paths.slerp(x, near, [at]), x) == pytest.approx(at * angle(x, near), abs=1e-9)
    assert angle(latent_paths.slerp(x, -near, [at]), x) == pytest.approx(at * angle(x, -near), abs=1e-9)


def test_an_end_of_zeros_fades_out() -> None:
    x = noise(3)
    for way in WAYS.values():
        torch.testing.assert_close(way(x, torch.zeros_like(x), [0.25]), 0.75 * x)
        torch.testing.assert_close(way(torch.zeros_like(x), x, [0.25]), 0.25 * x)
        assert float(way(torch.zeros_like(x), torch.zeros_like(x), [0.5]).norm()) == 0


def test_lerp_dips_to_071_in_the_middle_and_slerp_does_not() -> None:
    x, y = at_norm(noise(1), 1), at_norm(noise(2), 1)
    y = at_norm(y - (x * y).sum() / (x * x).sum() * x, 1)  # at right angles
    ends, middle = torch.cat((x, y)), [0.5]
    assert float(norms(latent_paths.line(middle, "lerp")(ends))) == pytest.approx(math.sqrt(0.5))
    assert float(norms(latent_paths.line(middle)(ends))) == pytest.approx(1)
    torch.testing.assert_close(latent_paths.line(middle, "restored")(ends), latent_paths.line(middle)(ends))


@given(seeds, seeds, st.floats(-1, 2))
def test_each_row_is_walked_alone(a: int, b: int, at: float) -> None:
    x, y = noise(a, b), noise(b, 5)
    for way in WAYS.values():
        together = way(x, y, [at, 0.25])
        assert torch.equal(together, torch.cat((way(x[:1], y[:1], [at]), way(x[1:], y[1:], [0.25]))))


@given(st.integers(1, 200), st.floats(-1, 1), st.floats(-1, 2))
def test_spread_is_even_with_both_ends(count: int, first: float, last: float) -> None:
    at = spread(count, first, last)
    assert len(at) == count
    if count == 1:
        assert at == [(first + last) / 2]
    else:
        assert (at[0], at[-1]) == pytest.approx((first, last), abs=1e-15)
        assert all(b - a == pytest.approx((last - first) / (count - 1), abs=1e-12) for a, b in pairwise(at))
    assert (spread(count)[0], spread(count)[-1]) == ((0.0, 1.0) if count > 1 else (0.5, 0.5))


@ways
def test_a_grid_has_its_corners_and_lines_for_edges(way: str) -> None:
    """DDIM D.5: pairs first, then across."""
    corners = noise(1, 2, 3, 4)
    rows, columns = spread(3), spread(4)
    walked = latent_paths.grid(rows, columns, way)(corners).view(3, 4, *RGB)
    assert all(torch.equal(walked[r, c], corner) for (r, c), corner in zip([(0, 0), (0, 3), (2, 0), (2, 3)], corners, strict=True))
    for r, ends in ((0, corners[:2]), (2, corners[2:])):
        torch.testing.assert_close(walked[r], latent_paths.line(columns, way)(ends))
    for c, ends in ((0, corners[::2]), (3, corners[1::2])):
        torch.testing.assert_close(walked[:, c], latent_paths.line(rows, way)(ends))
    inside = latent_paths.line([1 / 3], way)(torch.stack((walked[1, 0], walked[1, 3])))[0]
    torch.testing.assert_close(walked[1, 1], inside)


@pytest.mark.parametrize("keys", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("count", [2, 12, 31])
def test_a_loop_is_closed_and_turns_at_constant_speed(keys: int, count: int) -> None:
    ends = at_norm(noise(*range(keys)), 1)
    walked = latent_paths.loop(ends, count)(ends)
    assert torch.equal(walked[0], ends[0])
    torch.testing.assert_close(norms(walked), torch.ones(count, dtype=torch.float64))
    total = math.tau if keys < 3 else sum(angle(ends[i], ends[(i + 1) % keys]) for i in range(keys))
    turns = [angle(walked[k], walked[(k + 1) % count]) for k in range(count)]
    if keys < 3 and count > 2:
        assert turns == pytest.approx([total / count] * count)
    else:  # a chord across a key is no longer than the way round it
        assert all(turn <= total / count + 1e-9 for turn in turns)
        assert sum(abs(turn - total / count) < 1e-9 for turn in turns) >= count - keys


def test_a_loop_passes_its_keys_where_the_angles_say() -> None:
    keys = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)
    walked = latent_paths.loop(keys, 9)(keys)
    torch.testing.assert_close(walked[[0, 3, 6]], keys)
    torch.testing.assert_close(walked[1].flatten(), torch.tensor([math.cos(math.pi / 6), 0.5, 0], dtype=torch.float64))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.integers(2, 20))
def test_a_loop_stands_repeated_keys(named: list[int], count: int) -> None:
    ends = noise(*named)
    walked = latent_paths.loop(ends, count)(ends)
    assert walked.isfinite().all()
    if len(named) > 1 and len(set(named)) == 1:
        torch.testing.assert_close(walked, ends[:1].expand_as(walked), rtol=0, atol=1e-12)


def test_a_loops_places_serve_other_vectors_of_the_same_keys() -> None:
    """The step noise moves with x_T: at a key it is the key's own, and one turn of x_T is one turn of the noise."""
    keys, others = noise(1, 2), noise(8, 9)
    walk = latent_paths.loop(keys, 360)
    moved = walk(others)
    assert torch.equal(moved[0], others[0])
    turns = [angle(moved[k], moved[(k + 1) % 360]) for k in range(360)]
    assert sum(turns) == pytest.approx(math.tau, rel=1e-3)


def test_arithmetic_adds_a_difference() -> None:
    a, b, c = (noise(seed) for seed in (1, 2, 3))
    ends = torch.cat((a, b, c))
    plain = latent_paths.arithmetic([0.0, 0.5, 1.0], "lerp")(ends)
    torch.testing.assert_close(plain, torch.cat((a, a + 0.5 * (b - c), a + (b - c))))
    scaled = latent_paths.arithmetic([0.0, 0.5, 1.0])(ends)
    torch.testing.assert_close(norms(scaled), norms(a).expand(3))
    torch.testing.assert_close(scaled[2:], at_norm(plain[2:], float(norms(a))))
    torch.testing.assert_close(latent_paths.arithmetic([0.3, 1.0])(torch.cat((a, b, b))), torch.cat((a, a)))


def test_variations_move_towards_other_ends() -> None:
    ends = noise(1, 2, 3)
    moved = latent_paths.variations(0.25)(ends)
    assert torch.equal(moved[0], ends[0])
    for i in (1, 2):
        torch.testing.assert_close(moved[i : i + 1], latent_paths.slerp(ends[:1], ends[i : i + 1], [0.25]))
    assert torch.equal(latent_paths.variations(0.0)(ends), ends[:1].expand_as(ends))
    assert torch.equal(latent_paths.variations(1.0)(ends), ends)


def test_scales_change_the_norm_alone() -> None:
    x = noise(4, dtype=torch.float32)
    scaled = latent_paths.scales([0.5, 1.0])(x)
    assert torch.equal(scaled, torch.cat((x / 2, x)))


def test_norms_of_noise_are_near_one() -> None:
    drawn = norms(initial_noise(range(50), (3, 32, 32)))
    assert float((drawn - 1).abs().max()) < 0.05
    assert float(drawn.std()) == pytest.approx(1 / math.sqrt(2 * 3072), rel=0.3)
