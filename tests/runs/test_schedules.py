"""Runs of every kind on other schedules than DDPM's own: few and many timesteps, zero terminal SNR, a learned variance."""

import numpy as np
import pytest
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.runs.interpolation import MovingArm, PathRecipe
from ddim_app.runs.inversion import InversionArm, InvertRecipe
from ddim_app.runs.lessons import LessonRecipe
from ddim_app.runs.likelihood import LikelihoodRecipe
from ddim_app.runs.mixing import MixRecipe
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source, of_image
from tests import toys

COSINE = {"beta_schedule": "squaredcos_cap_v2"}
MODELS = {
    "T1": {"scheduler": {"num_train_timesteps": 1}},
    "T2": {"scheduler": {"num_train_timesteps": 2}},
    "T100": {"scheduler": {"num_train_timesteps": 100, **COSINE}},
    "T4000": {"scheduler": {"num_train_timesteps": 4000, **COSINE}},
    "laplace": {"scheduler": {"beta_schedule": "laplace"}},
    "zero-snr": {"scheduler": {"rescale_betas_zero_snr": True}},
    "zero-snr-v": {"scheduler": {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}},
    "range": {"out_channels": 6, "scheduler": {"variance_type": "learned_range", "num_train_timesteps": 4000, **COSINE}},
    "learned": {"out_channels": 6, "scheduler": {"variance_type": "learned"}},
    "embedding": {"time_embedding_type": "learned", "num_train_timesteps": 60, "scheduler": {"num_train_timesteps": 60}},
}
PICTURE = of_image(Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)), (3, 8, 8))
NO_PICTURE_AT_THE_END = {("zero-snr", "likelihood"), ("zero-snr", "euler"), ("zero-snr-v", "euler")}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    root = tmp_path_factory.mktemp("schedules")
    for name, settings in MODELS.items():
        toys.save_tiny(root / name, **settings)
    return Engine([root], allow_hub=False)


def recipes(name, schedule):
    """One recipe of each kind, as many steps as there are, up to four."""
    T, variances = schedule.num_train_timesteps, ("small", "large", *(["learned"] if schedule.learned else []))
    own = {"steps": min(4, T), "spacing": schedule.usual_spacing}
    arms = [Arm(**own), Arm(method="ddpm", variance="small", **own)]
    methods = ("ddim-source", "ddim-target", "fixed-point", "stochastic", "sdedit", *(["o-belm"] if T > 1 else []))
    return {
        **{v: Recipe(arms=(arms[0], Arm(method="ddpm", variance=v, **own)), model=name, precision="fp32") for v in variances},
        "invert": InvertRecipe(sources=(PICTURE,), arms=tuple(InversionArm(method=m, **own) for m in methods), model=name),
        "path": PathRecipe(ends=(Source(seed=1), Source(seed=2)), arms=(MovingArm(**own),), frames=3, model=name),
        "mix": MixRecipe(ends=(PICTURE, Source(seed=3)), levels=(T // 2,), frames=2, source=arms[0], model=name,
                         chain=Arm(method="ddpm", steps=min(4, T), variance=variances[-1])),
        "likelihood": LikelihoodRecipe(pictures=(PICTURE,), evaluations=60, model=name),
        "look": LessonRecipe(lesson="look", picture=PICTURE, timesteps=(0, T // 2), model=name),
        "denoise": LessonRecipe(lesson="denoise", picture=PICTURE, timesteps=(T // 2,), model=name, **own),
        "euler": LessonRecipe(lesson="euler", timesteps=(min(3, T),), model=name, **own),
    }  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_runs(engine, name):
    for kind, recipe in recipes(name, engine.model(name).schedule).items():
        if (name, kind) in NO_PICTURE_AT_THE_END:
            with pytest.raises(FieldError, match="last level"):
                engine.plan(recipe)
        else:
            assert list(engine.run(recipe)), kind


def test_what_zero_terminal_snr_leaves_of_spacings(engine):
    """Those that start at T - 1, where a network of epsilon says nothing of the picture, are refused."""
    for spacing in ("trailing", "linspace", "quadratic"):
        with pytest.raises(FieldError, match=r"spacing cannot be used: .*zero terminal SNR") as caught:
            engine.plan(Recipe(arms=(Arm(steps=5, spacing=spacing),), model="zero-snr"))
        assert caught.value.field == "spacing"
    for spacing in ("leading", "quadratic-paper"):
        engine.plan(Recipe(arms=(Arm(steps=5, spacing=spacing),), model="zero-snr"))
    engine.plan(Recipe(arms=(Arm(steps=5),), model="zero-snr-v"))


def test_a_learned_variance_is_had_where_a_network_has_one(engine):
    arms = {variance: Arm(method="ddpm", steps=6, variance=variance) for variance in ("small", "large", "learned")}
    drawn = {v: engine.final(Recipe(arms=(arm,), model="range", precision="fp32"))[0] for v, arm in arms.items()}
    assert len({picture.numpy().tobytes() for picture in drawn.values()}) == 3
    together = engine.final(Recipe(arms=tuple(arms.values()), model="range", precision="fp32"))
    assert [float((a - b).abs().max()) < 1e-4 for a, b in zip(together, drawn.values(), strict=True)] == [True] * 3
    with pytest.raises(FieldError, match="variance must be small or large: this model has learned none; got 'learned'"):
        engine.plan(Recipe(arms=(arms["learned"],), model="T100"))


@pytest.mark.parametrize("name", MODELS)
def test_what_a_host_measures_of_a_model_it_can_measure_of_all(engine, name):
    model = engine.model(name)
    engine._backends._measure_nearness(model)
    assert engine.check_buckets(name, "fp32")
