"""A recipe as the texts that the page gives to copy."""

import os
from collections.abc import Mapping
from typing import Any

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.runs import key_values, snippets
from ddim_app.runs.base import BaseRecipe

FORMS = ("Link", "Python", "diffusers", "Command line", "curl", "JSON")
MAX_LINK = 8_000
"""Characters of an address that browsers and proxies let through."""
HASH_DIGITS = 8
HERE = "http://127.0.0.1:7860/"


def text_of(engine: Engine, recipe: BaseRecipe, form: Any, address: Any) -> str:
    """The recipe in one of FORMS; `address` is that of the page, as its browser says it."""
    address = _checked(address)
    if form == "Python":
        return snippets.python(recipe)
    if form == "diffusers":
        return _diffusers(engine, recipe)
    if form == "Command line":
        return snippets.command(recipe)
    if form == "curl":
        return snippets.curl(recipe, address)
    if form == "JSON":
        return recipe.to_json()
    return link(recipe, address, {name: _hash(engine, name) for name in recipe.models})


def link(recipe: BaseRecipe, address: str, hashes: Mapping[str, str | None] | None = None) -> str:
    """A link that opens the page on the recipe's run: on a Space the Space's own, else the page's address.

    It names version, model and the first digits of its weights' hash, which `hashes` has where the recipe has not, and
    what differs from that version's defaults.
    """
    known = recipe.known_weights.items()
    recipe = recipe.made({name: (sha256 or (hashes or {}).get(name) or "")[:HASH_DIGITS] or None for name, sha256 in known})
    address_text = f"{base_of(address)}?{key_values.to_query(recipe, ('model',))}"
    if len(address_text) > MAX_LINK:
        return f"# Too long for a link ({len(address_text)} characters): take a picture of the run, or its JSON."
    return address_text


def link_inside(engine: Engine, recipe: BaseRecipe, address: Any) -> str:
    """The link that a file of the run carries; "" where it would be too long."""
    found = text_of(engine, recipe, "Link", address)
    return "" if found.startswith("#") else found


def base_of(address: Any) -> str:
    """What links begin with: on a Space its own address, else that of the page."""
    space = os.environ.get("SPACE_ID")
    return f"https://huggingface.co/spaces/{space}" if space else _checked(address)


def _checked(address: Any) -> str:
    is_one = isinstance(address, str) and address.startswith(("http://", "https://")) and len(address) <= 500
    return address if is_one else HERE


def _hash(engine: Engine, name: str) -> str | None:
    """The hash of the weights of a model that is here and can be used."""
    try:
        return engine.model(name).sha256 if engine.is_here(name) else None
    except FieldError:
        return None


def _diffusers(engine: Engine, recipe: BaseRecipe) -> str:
    if not engine.is_here(recipe.model):
        return "# The model is not here yet: run it once, or take its recipe to where it is."
    try:
        model = engine.model(recipe.model)
    except FieldError as error:
        return "# " + " ".join(str(error).split())
    if model.classes.names:
        return "# The model has classes, and diffusers' DDIMPipeline passes none to its network."
    folder = engine.catalogue.folders().get(recipe.model)
    if folder is None:
        return snippets.diffusers(recipe, model.schedule, recipe.model, subfolder=False)
    return snippets.diffusers(recipe, model.schedule, f"{folder.parent.name}/{folder.name}", (folder / "unet").is_dir())
