"""Writes down what the present tree makes of the goldens' recipes.

`python -m tests.golden.make NAME ...` adds new recipes of recipes.json and leaves the others as they are. Without a name all are
made anew: only a change that is meant to change something is a reason for that, and belongs in the commit's message.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.golden import measure, names, recipes

ARRAYS, TEXTS = recipes.FOLDER / "arrays.npz", recipes.FOLDER / "texts.json"


def kept(name: str, told: list[object]) -> dict[str, np.ndarray]:
    """The results of a run that are compared: pictures in levels of 8 bits, terms of a bound as they are."""
    found = measure.last_tensors(told)
    if name.startswith(("sampling", "path", "mix")):  # the finished pictures of each arm, without what was predicted of them
        found = {place: x for place, x in found.items() if place.endswith(", 0")}
    if name.startswith("inversion"):  # latents and reconstructions of the first picture, which is not kept itself
        found = {place: x[:1] for place, x in found.items() if x.ndim == 4 and not place.endswith(", 0")}
    return {f"{name}: {place}": x.numpy() if place == "terms" else levels(x) for place, x in found.items()}


def levels(x: Tensor) -> np.ndarray:
    """A picture or latent in 1/255 of the range of pictures, [-1, 1]; 16-bit, since latents reach beyond it."""
    whole: np.ndarray = (x.double() * 127.5).round().clamp(-32000, 32000).to(torch.int16).numpy()
    return whole


def texts() -> dict[str, str]:
    """Texts and the names of noises that stay as they are for ever."""
    named = {name: measure.rounded(noise) for name, noise in measure.noises().items()}
    python = {
        f"{name}, Python": without_imports(names.snippets["python"](recipe))
        for name, recipe in recipes.RECIPES.items()
        if name.startswith("sampling")
    }
    written = {name: text for name, text in measure.texts().items() if not name.endswith(", JSON")}
    return {**named, **written, **python}


def without_imports(code: str) -> str:
    return "\n".join(line for line in code.splitlines() if not line.startswith(("from ", "import ")))


def main(added: list[str]) -> None:
    """Makes the named recipes, or all of them where none is named."""
    torch.set_num_threads(1)
    arrays: dict[str, np.ndarray] = {}
    now = texts()
    if added:
        arrays = dict(np.load(ARRAYS))
        now |= json.loads(TEXTS.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        engine = measure.engine(Path(folder))
        for name in added or recipes.RECIPES:
            arrays |= kept(name, measure.events(engine, name))
    np.savez_compressed(ARRAYS, **arrays)
    TEXTS.write_text(json.dumps({name: now[name] for name in texts()}, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
