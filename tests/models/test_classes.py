"""The classes of a model: where their names lie, which index is the null class, and what a run may name."""

import json

import pytest

from ddim_app.errors import FieldError
from ddim_app.models.classes import ClassLabels
from ddim_app.models.loading import describe, load
from ddim_app.models.saving import save
from tests import toys

NAMES = ["cat", "dog", "owl"]
ID2LABEL = {str(i): name for i, name in enumerate(NAMES)}
PETS = ClassLabels(tuple(NAMES), 3)


def put(folder, name, content):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model_index.json", {"_class_name": "DDPMPipeline", "id2label": ID2LABEL}),
        ("id2label.json", ID2LABEL), ("classes.json", NAMES), ("labels.json", {"id2label": ID2LABEL}),
        ("unet/id2label.json", ID2LABEL), ("README.md", f"---\nlicense: mit\nid2label: {json.dumps(ID2LABEL)}\n---\nPets."),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("count", "null"), [(3, None), (4, 3)])
def test_names_are_read_where_people_put_them(tmp_path, name, content, count, null):
    """n names beside an embedding of n + 1 say that the last is the null class."""
    toys.save_tiny(tmp_path / "pets", num_class_embeds=count)
    put(tmp_path / "pets", name, content)
    assert describe(tmp_path / "pets", "pets").classes == ClassLabels(tuple(NAMES), null)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (None, ("0", "1", "2")), ("{", ("0", "1", "2")), ({"1": "dog"}, ("0", "dog", "2")), ({"x": "y"}, ("0", "1", "2")),
        (["a\x00", "b", "c"], ("0", "1", "2")), (["crane", "owl", "crane"], ("crane (0)", "owl", "crane (2)")),
        ([*NAMES, "more", "names"], tuple(NAMES)), ([["a"], {"b": 1}, 7], ("['a']", "{'b': 1}", "7")),
    ],
)  # fmt: skip
def test_classes_without_names_are_called_by_their_indices(tmp_path, content, names):
    toys.save_tiny(tmp_path / "pets", num_class_embeds=3)
    if content is not None:
        put(tmp_path / "pets", "id2label.json", content)
    assert describe(tmp_path / "pets", "pets").classes == ClassLabels(names)


def test_a_converted_model_keeps_its_classes(tmp_path):
    toys.save_tiny(tmp_path / "pets", num_class_embeds=4)
    put(tmp_path / "pets", "classes.json", NAMES)
    save(load(tmp_path / "pets"), tmp_path / "pets", tmp_path / "made")
    assert load(tmp_path / "made").classes == PETS


@pytest.mark.parametrize(
    ("label", "guidance", "seed", "expected"),
    [
        ("dog", None, 0, (1,)), ("dog", 1.0, 0, (1,)), ("2", None, 0, (2,)), ("none", None, 0, (3,)), ("dog", 0.0, 0, (3,)),
        ("dog", 2.5, 0, (1, 3)), ("none", 2.5, 0, (3,)), (None, None, 7, (1,)), ("any", 3.0, 8, (2, 3)), (None, None, None, (3,)),
    ],
)  # fmt: skip
def test_what_is_asked_for_a_class(label, guidance, seed, expected):
    assert PETS.asked(label, guidance, seed) == expected


@pytest.mark.parametrize(
    ("classes", "label", "guidance", "field", "reason"),
    [
        (PETS, "cow", None, "class_label", "must be any, one of cat, dog, owl, or a number from 0 to 2; got 'cow'"),
        (PETS, "3", None, "class_label", "or a number from 0 to 2; got '3'"),
        (ClassLabels(), "dog", None, "class_label", "must not be named for a model without classes; got 'dog'"),
        (ClassLabels(), None, 2.0, "guidance", "must be 1 for a model without classes; got 2"),
        (ClassLabels(("a", "b")), "none", None, "class_label", "must not be none: this model was trained without a null class"),
        (ClassLabels(("a", "b")), "a", 0.0, "guidance", "must be 1 for a model that was trained without a null class; got 0"),
        (ClassLabels(("a", "b")), None, None, "class_label", "must be named, since there is no seed to choose it by"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_sentence(classes, label, guidance, field, reason):
    with pytest.raises(FieldError, match="^" + field) as caught:
        classes.asked(label, guidance)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_that_is_called_none_is_itself():
    assert ClassLabels(("none", "some"), 2).asked("none") == (0,)


def test_a_name_of_digits_comes_before_the_index():
    assert ClassLabels(("7", "0")).asked("0") == (1,)
