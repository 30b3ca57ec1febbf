"""Models with classes on the page and in the API: two fields, hidden from other models, and parameters that may be left out."""

import json

import pytest
import torch
from gradio_client.exceptions import AppError

from ddim_app.engine import Engine
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui import controls
from tests import toys
from tests.wire import patient_client, served

NAMES = ["cat", "dog", "owl"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """`pets` has a null class, `kinds` has not, and `tiny` has no classes."""
    root = tmp_path_factory.mktemp("models")
    for name, count in (("pets", 4), ("kinds", 3), ("tiny", None)):
        toys.save_tiny(root / name, num_class_embeds=count)
        if count:
            (root / name / "classes.json").write_text(json.dumps(NAMES))
    return Engine([root], allow_hub=False, device=torch.device("cpu"), first_model="pets")


@pytest.fixture(scope="module")
def client(engine):
    with served(engine) as url:
        yield patient_client(url)


@pytest.mark.parametrize(
    ("model", "label", "field", "weight"),
    [
        ("pets", "dog", {"visible": True, "choices": ["any", *NAMES, "none"]}, {"visible": True}),
        ("pets", "2", {"visible": True, "choices": ["any", *NAMES, "none"]}, {"visible": True}),
        ("pets", "cow", {"visible": True, "choices": ["any", *NAMES, "none"], "value": "any"}, {"visible": True}),
        ("pets", "any", {"visible": True, "choices": ["any", *NAMES, "none"]}, {"visible": True}),
        ("kinds", "any", {"visible": True, "choices": ["any", *NAMES]}, {"visible": False, "value": 1}),
        ("tiny", "dog", {"visible": False, "choices": ["any"], "value": "any"}, {"visible": False, "value": 1}),
        ("nobody", None, {"visible": False, "choices": ["any"], "value": "any"}, {"visible": False, "value": 1}),
    ],
)
def test_the_fields_are_there_where_a_model_has_classes(engine, model, label, field, weight):
    updates = [
        {key: value for key, value in update.items() if key != "__type__"}
        for update in controls.classes_of(engine, model, label, 2)
    ]
    choices = [choice[0] if isinstance(choice, tuple | list) else choice for choice in updates[0]["choices"]]
    assert {**updates[0], "choices": choices} == field
    assert updates[1] == weight


def test_what_a_link_may_have_set_meanwhile_is_not_set_again(engine):
    """The page asks about its first model as it opens, and a link sets another one with its class."""
    assert not any("value" in update for update in controls.classes_of(engine, "tiny", "any", 1))


def test_the_api_takes_a_class_by_its_last_parameters(engine, client):
    """And makes the picture that the engine makes of the recipe; without them it is as before."""
    shared = {"model": "pets", "steps": 3, "pictures": 2, "precision": "fp32", "api_name": "/generate"}
    *_, summary = client.predict(**shared, class_label="dog", guidance=2)
    made = Recipe(arms=(Arm(steps=3, guidance=2),), model="pets", seed=7, pictures=2, precision="fp32", class_label="dog")
    assert summary["nfe"] == [6]
    assert summary["recipe"]["class_label"] == "dog"
    assert summary["recipe"]["arms"][0]["guidance"] == made.arms[0].guidance
    *_, summary = client.predict(**shared)
    assert "class_label" not in summary["recipe"]
    assert summary["nfe"] == [3]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"model": "tiny", "class_label": "dog"}, "class_label must not be named for a model without classes"),
        ({"model": "pets", "class_label": "cow"}, "class_label must be any, one of cat, dog, owl, or a number from 0 to 2"),
        ({"model": "kinds", "guidance": 3}, "guidance must be 1 for a model that was trained without a null class"),
        ({"model": "pets", "guidance": 50}, "guidance must be a number from 0 to 20"),
    ],
)  # fmt: skip
def test_a_wrong_class_is_said_in_a_sentence(client, values, sentence):
    with pytest.raises((AppError, ValueError)) as caught:
        client.predict(**values, steps=2, api_name="/generate")
    assert sentence in str(caught.value)
