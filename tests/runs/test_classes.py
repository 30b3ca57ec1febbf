"""Runs of every kind on a model with classes: what they ask for, what they cost, and what is said of a wrong class."""

import json

import pytest
import torch

from ddim_app.diffusion.noise import initial_noise
from ddim_app.diffusion.sampler import Row
from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.runs import codecs, decoding, forms, key_values, latent_files
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.interpolation import MovingArm, PathRecipe
from ddim_app.runs.inversion import InversionArm, InvertRecipe
from ddim_app.runs.kinds import from_json
from ddim_app.runs.lessons import LessonRecipe
from ddim_app.runs.likelihood import LikelihoodRecipe
from ddim_app.runs.mixing import MixRecipe
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source, of_pixels, of_tensor
from tests import toys
from tests.runs.queries import asked
from tests.toys import LINEAR

CPU = torch.device("cpu")
NAMES = ("cat", "dog", "owl, barn")
PICTURE = of_pixels(toys.pictures(1, (3, 8, 8))[0].float().clamp(-1, 1))
SEEDS = tuple(Source(seed=seed) for seed in (7, 8))
PETS = {"model": "pets", "precision": "fp32"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """`pets` has three classes and a null class, `kinds` three without one, `tiny` none."""
    root = tmp_path_factory.mktemp("models")
    for name, count in (("pets", 4), ("kinds", 3), ("tiny", None)):
        toys.save_tiny(root / name, num_class_embeds=count)
        if count:
            (root / name / "id2label.json").write_text(json.dumps(dict(enumerate(NAMES))))
    return Engine([root], allow_hub=False, device=CPU)


def final(engine, *arms, **changes):
    return engine.final(Recipe(arms=arms or (Arm(steps=4),), **PETS | changes))[0]


def test_a_run_is_the_sampler_on_the_network_of_its_class(engine):
    unet = engine.model("pets").unet
    x = initial_noise([7, 8], (3, 8, 8))
    rows = [Row(LINEAR.levels(4), clip="clip")] * 2
    with torch.inference_mode():
        expected = toys.final(x, rows, lambda x, t: unet(x, t, torch.full_like(t, 1)).sample)
        other = toys.final(x, rows, lambda x, t: unet(x, t, torch.full_like(t, 2)).sample)
    got = final(engine, seed=7, pictures=2, class_label="dog")
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert (got - other).abs().max() > 1e-2


def test_any_is_the_class_of_each_pictures_seed(engine):
    drawn = final(engine, seed=7, pictures=3)
    assert Recipe(arms=(Arm(),), class_label="any").to_json() == Recipe(arms=(Arm(),)).to_json()
    for i, label in enumerate((NAMES[1], NAMES[2], NAMES[0])):  # 7, 8 and 9 modulo 3
        torch.testing.assert_close(drawn[i : i + 1], final(engine, seed=7 + i, class_label=label), rtol=0, atol=1e-4)


def test_weights_of_one_and_zero_are_single_rows(engine):
    """w = 1 is the class and w = 0 the null class, to the bit and at the cost of a row."""
    of_class, of_none = final(engine, class_label="dog"), final(engine, class_label="none")
    assert torch.equal(final(engine, Arm(steps=4, guidance=1), class_label="dog"), of_class)
    assert torch.equal(final(engine, Arm(steps=4, guidance=0), class_label="dog"), of_none)
    for guidance, nfe in ((None, 4), (1, 4), (0, 4), (2.5, 8)):
        plan = engine.plan(Recipe(arms=(Arm(steps=4, guidance=guidance),), pictures=3, class_label="dog", **PETS))
        assert plan.nfe == (nfe,)
        assert plan.evaluations == 3 * nfe


def test_arms_have_weights_and_classes_of_their_own(engine):
    """Arms side by side, one guided, one of another class, one that begins in another: each is what it is alone."""
    arms = Arm(steps=4), Arm(steps=4, guidance=3.0), Arm(steps=4, class_label="2"), Arm(steps=4, start_arm=1, start_step=2)
    recipe = Recipe(arms=arms, pictures=2, class_label="dog", **PETS)
    finals = engine.final(recipe)
    for i in range(3):
        torch.testing.assert_close(finals[i], engine.final(recipe.with_arms(arms[i]))[0], rtol=0, atol=1e-4)
    assert (finals[0] - finals[1]).abs().max() > 1e-2
    assert (finals[3] - finals[1]).abs().max() > 1e-3  # it goes on without guidance
    assert engine.plan(recipe).nfe == (2, 4, 8)


def test_runs_of_many_classes_share_calls(engine):
    """What a run draws does not depend on the class of its neighbour in the batch."""
    recipes = [Recipe(arms=(Arm(steps=6, guidance=w),), pictures=2, class_label=y, **PETS) for y, w in (("cat", 2), ("dog", None))]
    alone = [engine.final(recipe)[0] for recipe in recipes]
    handles = [engine.run(recipe) for recipe in recipes]
    for handle, expected in zip(handles, alone, strict=True):
        torch.testing.assert_close(handle.result[0], expected, rtol=0, atol=1e-4)


MOVING = MovingArm(steps=3, guidance=2.0), MovingArm(method="ddpm", steps=4)
INVERSIONS = tuple(InversionArm(method=method, steps=4) for method in ("ddim-target", "o-belm", "stochastic", "sdedit"))
KINDS: list[BaseRecipe] = [
    Recipe(arms=(Arm(steps=3, guidance=2.0), Arm(steps=4), Arm(steps=5, guidance=0.0)), pictures=3, **PETS),
    Recipe(arms=(Arm(steps=3, guidance=2.0), Arm(steps=3, start_arm=0, start_step=1)), class_label="dog", **PETS),
    PathRecipe(arms=MOVING, ends=SEEDS, class_label="dog", **PETS),
    PathRecipe(arms=MOVING, ends=(of_tensor(torch.zeros(3, 8, 8)), SEEDS[0]), **PETS),
    InvertRecipe(sources=SEEDS, arms=INVERSIONS, self_interpolation=True, **PETS),
    InvertRecipe(sources=(PICTURE, SEEDS[0]), arms=INVERSIONS, class_label="2", **PETS),
    MixRecipe(ends=SEEDS, chain=Arm(method="ddpm", steps=50, guidance=2.0), source=Arm(steps=3, guidance=4.0), **PETS),
    LikelihoodRecipe(pictures=(PICTURE,), evaluations=60, class_label="dog", **PETS),
    LikelihoodRecipe(pictures=(PICTURE,), evaluations=60, **PETS),
    LessonRecipe(lesson="look", picture=PICTURE, timesteps=(10, 500), **PETS),
    LessonRecipe(lesson="denoise", picture=PICTURE, timesteps=(500,), steps=5, class_label="dog", **PETS),
    LessonRecipe(lesson="euler", timesteps=(3, 4), steps=5, **PETS),
]


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: f"{recipe.kind} {recipe.class_label}")
def test_every_kind_asks_for_what_its_plan_promises(engine, recipe):
    planned = engine.plan(recipe)
    promised = [pair for step in planned.steps() for rows in step for pair in sorted(rows.items()) if pair[1]]
    assert asked(planned.process(CPU))[0] == promised


@pytest.mark.parametrize("recipe", KINDS, ids=lambda recipe: f"{recipe.kind} {recipe.class_label}")
def test_every_kind_runs_on_a_model_with_classes(engine, recipe):
    assert engine.run(recipe).result is not None


def test_an_inversion_comes_back_in_its_own_class(engine):
    """An exact method has one class on both ways; a latent keeps its class, and another class makes another picture of it."""
    arm, settings = InversionArm(method="o-belm", steps=6), {"model": "pets", "precision": "fp64"}
    (result,) = engine.run(InvertRecipe(sources=(PICTURE,), arms=(arm,), class_label="dog", **settings)).result
    torch.testing.assert_close(result.back, result.original, rtol=0, atol=1e-6)
    data = latent_files.save(result.latent)
    (same,) = engine.run(decoding.of_file(data, **settings)).result
    (other,) = engine.run(decoding.of_file(data, class_label="cat", **settings)).result
    torch.testing.assert_close(same.back, result.back, rtol=0, atol=1e-4)
    assert (other.back - result.back).abs().max() > 1e-2


def test_an_interpolation_carries_its_class(engine):
    ends = engine.run(PathRecipe(arms=(MovingArm(steps=4),), ends=SEEDS, frames=3, class_label="cat", **PETS)).result.pictures[0]
    for i in (0, 1):
        torch.testing.assert_close(ends[[0, -1][i]][None], final(engine, seed=7 + i, class_label="cat"), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (Recipe(arms=(Arm(),), model="tiny", class_label="dog"), "class_label must not be named for a model without classes"),
        (Recipe(arms=(Arm(guidance=2),), model="tiny"), "guidance must be 1 for a model without classes; got 2"),
        (Recipe(arms=(Arm(),), model="pets", class_label="cow"), "class_label must be any, one of cat, dog, owl, barn, or a"),
        (Recipe(arms=(Arm(),), model="pets", class_label="3"), "or a number from 0 to 2; got '3'"),
        (Recipe(arms=(Arm(guidance=3),), model="kinds"), "guidance must be 1 for a model that was trained without a null class"),
        (LikelihoodRecipe(pictures=(PICTURE,), model="kinds"), "class_label must be named, since there is no seed"),
        (InvertRecipe(sources=(PICTURE,), arms=INVERSIONS, model="kinds"), "class_label must be named, since there is no seed"),
        (PathRecipe(arms=MOVING, ends=(PICTURE, SEEDS[0]), **PETS), "guidance must be 1 where an end is a picture"),
        (MixRecipe(ends=SEEDS, model="pets", class_label="cow"), "class_label must be any"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_class_is_said_in_a_sentence(engine, recipe, reason):
    with pytest.raises(FieldError) as caught:
        engine.plan(recipe)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"class_label": 1.5}, "class_label must be any, or the name or the number of a class; got 1.5"),
        ({"class_label": -1}, "class_label must be any"), ({"class_label": ["dog"]}, "class_label must be any"),
        ({"class_label": "x" * 101}, "class_label must be any"), ({"guidance": 21}, "guidance must be a number from 0 to 20"),
        ({"guidance": float("nan")}, "guidance must be a number"), ({"guidance": "3"}, "guidance must be a number"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_class_and_no_weight_is_refused_by_the_recipe(settings, reason):
    with pytest.raises(FieldError, match=reason):
        Arm(**settings)


def test_recipes_without_a_class_are_written_as_before():
    recipe = Recipe(arms=(Arm(guidance=1.0),), class_label="")
    assert "class" not in recipe.to_json()
    assert "guidance" not in recipe.to_json()
    assert key_values.to_query(recipe) == "v=1"
    assert "class_label" not in codecs.generate_values(recipe)


@pytest.mark.parametrize("label", ["dog", "owl, barn", "a:b%20~c", "7", '"any"', "ä"])
def test_a_class_goes_through_json_links_and_command_lines(label):
    recipe = Recipe(arms=(Arm(guidance=2.5), Arm(method="ddpm", class_label=label)), class_label=label, model="pets")
    assert from_json(recipe.to_json()) == recipe
    assert codecs.read_query(key_values.to_query(recipe)).recipe == recipe
    single = recipe.with_arms(recipe.arms[0])
    values = codecs.generate_values(single)
    assert (values["class_label"], values["guidance"]) == (label, 2.5)
    assert forms.generate(values, 1000) == single


def test_numbers_are_names_of_classes():
    assert Recipe(arms=(Arm(),), class_label=2).class_label == "2"
