"""What a tree makes of the goldens' recipes: texts, noise, and every tensor of every run.

As a script (`python tests/golden/measure.py FILE`, from the tree that is measured) it writes their hashes to FILE as JSON.
"""

import dataclasses
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

if __name__ == "__main__":  # the tree that is measured comes first, then the goldens of this one
    sys.path[:0] = [str(Path.cwd()), str(Path(__file__).resolve().parent.parent.parent)]

from tests.golden import names, recipes

SHAPE = (3, 32, 32)
SEEDS = (0, 7, 2**32 - 1)
STEPS = ((999, 0), (999, 499), (500, 499), (42, 3), (1, 0))
CLOCK = ("seconds",)
"""Fields of a run's results that differ each time."""


def texts() -> dict[str, str]:
    """What a recipe is written as, by `name, form`."""
    made: dict[str, str] = {}
    for name, recipe in recipes.RECIPES.items():
        made[f"{name}, JSON"] = recipe.to_json()
        if len(recipe.to_json()) < 2000:
            made[f"{name}, link"] = names.to_query(recipe)
            made[f"{name}, command"] = names.snippets["command"](recipe)
            made[f"{name}, curl"] = names.snippets["curl"](recipe, "http://localhost:7860/")
            made[f"{name}, diffusers"] = names.snippets["diffusers"](recipe, linear(), "weights/avatars-32")
    return made


def of_python(recipe: Any) -> str:
    """The JSON of the recipe that its Python snippet builds."""
    found: dict[str, Any] = {}
    exec(names.snippets["python"](recipe).split("\nfor ")[0], found)
    text: str = found["recipe"].to_json()
    return text


def linear() -> Any:
    """DDPM's schedule."""
    return names.Schedule(names.cumulative(names.betas()))


def noises() -> dict[str, Tensor]:
    """x_T and step noise of some seeds."""
    made = {f"x_T of {seed}": names.initial_noise([seed], SHAPE)[0] for seed in SEEDS}
    for seed in SEEDS:
        path = names.BrownianPath(linear(), SHAPE, seed, branch=seed % 3)
        made |= {f"step noise of {seed}, {cur} to {nxt}": path.between(cur, nxt) for cur, nxt in STEPS}
        made |= {f"keyed noise of {seed}, {t}": names.keyed_noise(names.noise_key(seed, 1), t, SHAPE) for t in (0, 999)}
    return made


def rounded(noise: Tensor) -> str:
    """Names a noise in eighths: torch's vectorised and plain kernels differ in the last bits of some values."""
    return digest((noise * 8).round().to(torch.int8))


def engine(folder: Path) -> Any:
    """An engine of the recipes' models, on the CPU, evaluated by torch."""
    return names.Engine(recipes.make_models(folder), device=torch.device("cpu"), allow_hub=False, backend="torch")


def events(engine: Any, name: str) -> list[Any]:
    """All that the run of a recipe tells."""
    told: list[Any] = list(engine.run(recipes.RECIPES[name]))
    return told


def last_tensors(told: list[Any]) -> dict[str, Tensor]:
    """The tensors of the last event of each arm that was told of last, by `arm, place`."""
    last: dict[int, Any] = {}
    for event in told:
        if type(event) is type(told[-1]):
            last[getattr(event, "arm", 0)] = event
    if "Term" in type(told[-1]).__name__:
        return {"terms": torch.cat([event.values for event in told])}
    found = {f"{arm}, {i}": x for arm, event in last.items() for i, x in enumerate(tensors(event))}
    return {place: x for place, x in found.items() if x.is_floating_point() and x.ndim >= 4}


def tensors(value: Any) -> Iterator[Tensor]:
    for part in parts(value):
        if isinstance(part, Tensor):
            yield part


def parts(value: Any) -> Iterator[Any]:
    """The tensors and plain values that a value is made of, in order; clocks are passed over."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        for name, item in zip(value._fields, value, strict=True):
            if name not in CLOCK:
                yield from parts(item)
    elif hasattr(value, "to_json"):
        yield value.to_json()
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from parts(getattr(value, field.name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from parts(item)
    else:
        yield value


def digest(values: Any) -> str:
    """Names values of any nesting to the last bit."""
    hashed = hashlib.sha256()
    for part in parts(values):
        if isinstance(part, Tensor):
            hashed.update(f"{part.dtype} {tuple(part.shape)}".encode() + part.contiguous().cpu().numpy().tobytes())
        else:
            hashed.update(repr(part).encode())
        hashed.update(b"\0")
    return hashed.hexdigest()[:16]


def everything() -> dict[str, str]:
    """The hash of every text, noise and run."""
    torch.set_num_threads(1)
    found = {name: digest(value) for name, value in {**texts(), **noises()}.items()}
    found |= {f"{name}, Python": digest(of_python(recipe)) for name, recipe in recipes.RECIPES.items()}
    with tempfile.TemporaryDirectory() as folder:
        running = engine(Path(folder))
        for name in recipes.RECIPES:
            print(name, file=sys.stderr, flush=True)
            found[f"{name}, run"] = digest(events(running, name))
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(everything()), "utf-8")
