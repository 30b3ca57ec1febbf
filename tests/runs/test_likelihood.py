"""Measuring a bound: designs without bias, errors that hold, and runs that say what the formulas say."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddim_app.diffusion import elbo, term_sampling
from ddim_app.diffusion.formulas import add_noise
from ddim_app.diffusion.sampler import Query, drive
from ddim_app.diffusion.schedule import Schedule, betas, cumulative
from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.models.classes import UNCONDITIONAL
from ddim_app.runs import kinds, likelihood
from ddim_app.runs.likelihood import COLUMNS, LikelihoodPlan, LikelihoodRecipe, TermCollector
from ddim_app.runs.sources import Source, of_pixels
from tests.oracle import Gaussian
from tests.toys import pictures

T = 1000


def key(seed):
    return np.random.SeedSequence([seed]).generate_state(2, np.uint64)


def curve(t):
    """Terms that fall as those of a real model do."""
    return 1.7 if t == 0 else 0.3 / t**1.2


def noisy(design, seed):
    """The curve with draws that scatter by 3 %."""
    generator = np.random.default_rng(seed)
    return np.array([curve(e.t) for e in design]) * (1 + 0.03 * generator.standard_normal(len(design)))


def test_the_quick_estimate_is_unbiased_and_does_not_understate_its_error():
    exact = sum(map(curve, range(T)))
    runs = [
        term_sampling.total(design, noisy(design, seed))
        for seed in range(2000)
        for design in [term_sampling.quick(T, 100, key(seed))]
    ]
    totals, errors = np.array(runs).T
    assert abs(totals.mean() - exact) < 4 * totals.std(ddof=1) / math.sqrt(len(totals))
    assert totals.std() <= math.sqrt((errors**2).mean()) <= 2 * totals.std()
    # From four draws of the largest term an error is itself uncertain: twice it covers less than the usual 95 %.
    assert (abs(totals - exact) < 2 * errors).mean() > 0.87
    assert (abs(totals - exact) < 3 * errors).mean() > 0.95


def test_the_quick_estimate_of_unscattered_terms_is_unbiased_by_its_strata_alone():
    exact = sum(map(curve, range(T)))
    totals = []
    for seed in range(2000):
        design = term_sampling.quick(T, 100, key(seed))
        totals.append(term_sampling.total(design, np.array([curve(e.t) for e in design]))[0])
    assert abs(np.mean(totals) - exact) < 4 * np.std(totals, ddof=1) / math.sqrt(len(totals))
    assert np.std(totals) > 0


@given(T=st.integers(1, 2000), evaluations=st.integers(term_sampling.LEAST, 200), seed=st.integers(0, 99))
def test_quick_designs_keep_their_budget_and_weigh_by_inverse_probability(T, evaluations, seed):
    design = term_sampling.quick(T, evaluations, key(seed))
    assert len(design) <= max(evaluations, term_sampling.LEAST)
    drawn = [(e.t, e.draw) for e in design]
    assert len(set(drawn)) == len(drawn)
    assert [e.t for e in design] == sorted(e.t for e in design)
    assert {e.t for e in design} >= set(range(min(T, term_sampling.CERTAIN)))
    sizes = Counter(e.stratum for e in design)
    covered = sum({e.stratum: e.weight * sizes[e.stratum] for e in design}.values())
    assert covered == pytest.approx(T)  # the strata's sizes add up to all timesteps


def test_a_full_design_has_every_term_and_the_error_of_their_scatter():
    design = term_sampling.full(5, 3)
    values = np.array([[1.0, 2.0, 3.0]] * 5).ravel()
    assert term_sampling.total(design, values) == pytest.approx((10.0, math.sqrt(5 / 3)))
    assert term_sampling.means(design, values) == dict.fromkeys(range(5), 2.0)


SCHEDULE = Schedule(cumulative(betas("linear", 60, 1e-3, 0.2)))
SHAPE = (3, 4, 4)


class Toy:
    """A model without classes whose network knows that pictures are N(0, 0.25 I)."""

    classes = UNCONDITIONAL

    def __init__(self):
        self.schedule, self.shape, self.sha256 = SCHEDULE, SHAPE, "0" * 64


def planned(mode="full", **values):
    source = of_pixels((0.5 * pictures(1, SHAPE)[0]).clamp(-1, 1))
    wanted = LikelihoodRecipe(pictures=(source,), mode=mode, **values)
    return likelihood.plan(wanted, lambda name: Toy())


def measured(run: LikelihoodPlan):
    network = Gaussian(0, 0.5).network(SCHEDULE.alphas_cumprod)
    collector = TermCollector(run)
    for terms in drive(run.process(torch.device("cpu")), lambda x, t: network(x.double(), t)):
        collector.add(*run.frames(terms))
    return collector.result


def test_a_run_measures_what_the_formulas_say():
    run = planned(precision="fp64", clip="off")
    (bound,) = measured(run)
    x0, network = run.x0.double(), Gaussian(0, 0.5).network(SCHEDULE.alphas_cumprod)
    queries = (item for item in run.process(torch.device("cpu")) if isinstance(item, Query))
    x_t, asked, *_ = next(queries)
    t = torch.tensor(asked)
    for row in (0, 1, 2, 41):  # t = 0 twice, 1, and 20
        ab = float(SCHEDULE.alphas_cumprod[t[row]])
        eps = network(x_t[row : row + 1], t[row : row + 1])
        noise = (x_t[row : row + 1] - math.sqrt(ab) * x0) / math.sqrt(1 - ab)
        pred_x0 = (x_t[row : row + 1] - math.sqrt(1 - ab) * eps) / math.sqrt(ab)
        values = dict(zip(COLUMNS, bound.values[row], strict=True))
        assert 127.5 * math.sqrt(values["distance"]) == pytest.approx(float(elbo.rmse(x0, pred_x0)), rel=1e-6)
        assert values["simple"] == pytest.approx(float((noise - eps).square().mean()), rel=1e-6)
        if t[row]:
            for variance in ("small", "large"):
                expected = elbo.transition(x0, pred_x0, SCHEDULE, t[row : row + 1], variance)
                assert values[variance] == pytest.approx(float(expected), rel=1e-6)
        else:
            for name, decoder in (("small", "posterior"), ("large", "posterior"), ("beta", "beta")):
                expected = elbo.decoder_loss(x0, pred_x0, elbo.decoder_variance(SCHEDULE, decoder))
                assert values[name] == pytest.approx(float(expected), rel=1e-6)


def test_a_bounds_parts_add_up():
    (bound,) = measured(planned())
    total, error = bound.total("large")
    assert bound.rate("large") + bound.distortion() == pytest.approx(total)
    assert 0 < error < 0.2 * total
    curve = bound.curve("large")
    assert [t for t, _, _ in curve] == list(range(59, -1, -1))
    rates = [rate for _, rate, _ in curve]
    assert rates[0] == bound.prior
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(bound.rate("large"))
    assert curve[-1][2] == pytest.approx(bound.rmse)
    assert bound.total("small", "beta")[0] != bound.total("small")[0]


def test_quick_and_full_agree_within_their_errors():
    (full,), (quick,) = measured(planned(draws=8)), measured(planned("quick", seed=3))
    assert abs(full.total()[0] - quick.total()[0]) < 4 * math.hypot(full.total()[1], quick.total()[1])


def test_what_a_plan_costs():
    run = planned(draws=3)
    assert (run.evaluations, run.batches, run.transitions, run.nfe) == (180, 3, 3, (180,))
    assert [run.evaluated(done) for done in range(4)] == [0, 64, 128, 180]
    assert run.calls(64) == 3
    assert run.calls(16) == 12


def test_the_recipe_comes_back_from_its_json_and_judges_its_values():
    made = planned("quick", seed=5, draws=4).recipe
    assert kinds.from_json(made.to_json()) == made
    assert json.loads(made.to_json())["kind"] == "likelihood"
    assert made.precision == "fp32"
    cases = {"evaluations": 59, "draws": 1, "seed": -1, "mode": "slow", "clip": "hard", "pictures": made.pictures * 17}
    for name, value in cases.items():
        with pytest.raises(FieldError) as error:
            LikelihoodRecipe(**{"pictures": made.pictures, name: value})
        assert error.value.field == name
    with pytest.raises(FieldError, match="8-bit"):
        LikelihoodRecipe(pictures=(Source(seed=1),))


def test_the_engine_runs_it_and_a_seed_names_its_numbers(tiny_root):
    engine = Engine([tiny_root])
    source = of_pixels(pictures(1, (3, 8, 8))[0].clamp(-1, 1))
    wanted = LikelihoodRecipe(pictures=(source,) * 2, model="tiny", seed=1)
    run = engine.plan(wanted)
    collector = TermCollector(run)
    for terms in engine.run(wanted):
        collector.add(terms)
    first, second = collector.result
    assert run.evaluations == 2 * len(run.design) <= 200
    assert len(collector.evaluated(1)) == len(run.design)
    again = TermCollector(run)
    alone = likelihood.with_picture(wanted, source)
    for terms in engine.run(alone):
        again.add(terms)
    assert again.result[0].total() == first.total() != second.total()  # one picture, two noises


def test_a_network_of_epsilon_without_a_picture_at_its_last_level_has_no_bound():
    class NoPicture(Toy):
        def __init__(self):
            super().__init__()
            self.schedule = Schedule(cumulative(betas(), zero_terminal_snr=True))

    with pytest.raises(FieldError, match="has no bound"):
        likelihood.plan(planned().recipe, lambda name: NoPicture())


def test_the_noise_is_none_of_the_samplers():
    run = planned()
    x_t, t, *_ = next(iter(run.process(torch.device("cpu"))))
    x0 = run.x0[0].expand(len(t), *SHAPE)
    noise = (x_t - add_noise(x0, torch.zeros_like(x0), SCHEDULE.alphas_cumprod[t])) / (1 - SCHEDULE.alphas_cumprod[t]).sqrt().view(
        -1, 1, 1, 1
    )
    assert len({tuple(row.flatten().tolist()) for row in noise}) == len(t)
    assert abs(float(noise.double().mean())) < 4 / math.sqrt(noise.numel())
    assert abs(float(noise.double().var()) - 1) < 4 * math.sqrt(2 / noise.numel())
