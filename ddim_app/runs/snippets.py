"""A recipe as text that somebody else can run: Python, a command line, curl. Texts say, in a comment, what they cannot do."""

import dataclasses
import json
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from ddim_app.diffusion.noise import picture_seed
from ddim_app.diffusion.schedule import Schedule
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.codecs import compare_values, generate_values
from ddim_app.runs.key_values import to_arguments
from ddim_app.runs.sampling import Arm, Recipe

COMMANDS = {Recipe.kind: "generate"}
"""The command that runs recipes of a kind."""
SOLVER = "DPMSolverMultistepScheduler"
MAX_COMMAND = 4_000
"""Characters; longer ones are no use in a shell."""


def python(recipe: BaseRecipe) -> str:
    """Python that runs the recipe with this package and saves its pictures, each with the recipe inside."""
    names = {"Engine"} | ({"png", "to_pil", "to_pixels"} if isinstance(recipe, Recipe) else set())
    value = f"{_imports({*names, *map(_place, _classes(recipe))})}\nrecipe = {_literal(recipe, 0)}\n"
    if not isinstance(recipe, Recipe):
        return value + "for frame in Engine().run(recipe):\n    print(frame.k)\n"
    return (
        "from pathlib import Path\n\n"
        + value
        + (
            "for a, pictures in enumerate(Engine().final(recipe), 1):\n"
            "    for i, pixels in enumerate(to_pixels(pictures)):\n"
            '        Path(f"arm-{a}-picture-{i}.png").write_bytes(png(to_pil(pixels), recipe))\n'
        )
    )


def _place(cls: type) -> str:
    """How a class is imported: of this package from its front door, by its name alone."""
    return cls.__name__ if cls.__module__.startswith("ddim_app.") else f"{cls.__module__}.{cls.__name__}"


def _imports(places: set[str]) -> str:
    modules: dict[str, list[str]] = {}
    for place in sorted(places):
        module, _, name = place.rpartition(".")
        modules.setdefault(module or "ddim_app", []).append(name)
    return "".join(f"from {module} import {', '.join(names)}\n" for module, names in sorted(modules.items()))


def command(recipe: BaseRecipe) -> str:
    """The command line that makes the recipe's pictures."""
    name = COMMANDS.get(recipe.kind)
    if name is None:
        return f"# There is no command for a recipe of the kind {recipe.kind}."
    text = shlex.join(["python", "-m", "ddim_app", name, *to_arguments(recipe)])
    if len(text) > MAX_COMMAND:
        return f"# Too long for a command line. With a picture of the run: python -m ddim_app {name} --recipe FILE.png"
    return text


def curl(recipe: BaseRecipe, address: str) -> str:
    """Two calls of the API at `address`: the first starts the run, the second waits for its pictures."""
    able = {"compare": compare_values(recipe), "generate": generate_values(recipe)}
    endpoint, values = next(((name, values) for name, values in able.items() if values is not None), ("", None))
    if values is None:
        arms = f"of {len(recipe.arms)} such arms" if isinstance(recipe, Recipe) else f"of the kind {recipe.kind}"
        return f"# The API has no endpoint for a recipe {arms}: take the command line or Python."
    body = shlex.quote(json.dumps(values))
    place = shlex.quote(f"{address.rstrip('/')}/gradio_api/call")
    return (
        f"CALL={place}\n"
        f"EVENT=$(curl -s \"$CALL/v2/{endpoint}\" -H 'Content-Type: application/json' -d {body} | cut -d '\"' -f 4)\n"
        f'curl -sN "$CALL/{endpoint}/$EVENT"\n'
    )


def diffusers(recipe: BaseRecipe, schedule: Schedule, where: str, subfolder: bool = True) -> str:
    """Python of diffusers alone for the arms that it can sample like us; for the others a comment says why it cannot.

    `where` is what `from_pretrained` takes for the model: a folder, or an id on the Hub; with `subfolder` its network is in
    `unet/`. Pictures are equal but for rounding: diffusers' tables are float32.
    """
    if not isinstance(recipe, Recipe):
        return f"# diffusers has no pipeline for a recipe of the kind {recipe.kind}."
    reasons = [_cannot(recipe, arm, schedule) for arm in recipe.arms]
    notes = [
        f"# Left out, arm {i} ({arm.label}): {why}" for i, (arm, why) in enumerate(zip(recipe.arms, reasons, strict=True), 1) if why
    ]
    able = [(i, arm) for i, (arm, why) in enumerate(zip(recipe.arms, reasons, strict=True), 1) if not why]
    if not able:
        return "\n".join(notes) + "\n"
    place, unet, scheduler = _word(where), *(f", subfolder={_word(name)}" if subfolder else "" for name in ("unet", "scheduler"))
    if recipe.precision != "fp32":
        notes.append(f"# In fp32: the recipe's own precision is {recipe.precision}, so that roundings differ.")
    multistep = {arm.sampler.multistep for _, arm in able}
    used = [*(["DDIMPipeline", "DDIMScheduler"] if False in multistep else []), *([SOLVER] if True in multistep else [])]
    text = [
        "import torch", f"from diffusers import {', '.join([*used, 'UNet2DModel'])}",
        *(["from diffusers.utils import numpy_to_pil"] if True in multistep else []), "", *notes,
        f"unet = UNet2DModel.from_pretrained({place}{unet}, use_safetensors=True).eval()",
        f"seeds = {[picture_seed(recipe.seed, i) for i in range(recipe.pictures)]}",
    ]  # fmt: skip
    for i, arm in able:
        lines = _solver_arm if arm.sampler.multistep else _arm
        text += [
            "",
            f"# Arm {i}: {arm.label}, {arm.steps} steps, {arm.spacing}",
            *lines(recipe, arm, schedule, i, place, scheduler),
        ]
    return "\n".join(text) + "\n"


def _cannot(recipe: Recipe, arm: Arm, schedule: Schedule) -> str | None:
    """Why diffusers does not make the arm's picture."""
    if arm.model and arm.model != recipe.model:
        return "it has another model."
    if arm.start_arm is not None:
        return "it begins where another arm is."
    if arm.sampler.adds_noise(arm.eta, arm.variance):
        return "it adds noise at every step, and diffusers draws another: pictures of the same kind, not the same pictures."
    if schedule.clip_range != 1 and arm.clip in (("clip", "dynamic") if arm.sampler.multistep else ("dynamic",)):
        return f"{SOLVER if arm.sampler.multistep else 'DDIMScheduler'} thresholds to [-1, 1] only."
    visited = _visited(arm, schedule)
    if arm.sampler.multistep:
        return f"{SOLVER} has no level without signal." if schedule.level(visited[0]).alpha_bar == 0 else None
    stride = schedule.num_train_timesteps // len(visited)
    if any(cur - nxt != stride for cur, nxt in pairwise(visited)) or visited[-1] >= stride:
        return (
            f"DDIMScheduler moves by {schedule.num_train_timesteps} // {len(visited)} = {stride} timesteps, whatever its list says."
        )
    return None


def _visited(arm: Arm, schedule: Schedule) -> list[int]:
    if arm.timesteps:
        return list(arm.timesteps)
    return schedule.timesteps(arm.steps, arm.spacing)


def _arm(recipe: Recipe, arm: Arm, schedule: Schedule, number: int, where: str, folder: str) -> list[str]:
    visited = _visited(arm, schedule)
    settings: dict[str, Any] = {"num_train_timesteps": schedule.num_train_timesteps, "clip_sample": arm.clip == "clip"}
    if arm.clip == "clip":
        settings["clip_sample_range"] = schedule.clip_range
    settings["thresholding"] = arm.clip == "dynamic"
    if arm.clip == "dynamic":
        settings["sample_max_value"] = 1e9
    # "leading" with an offset is any list of equal strides, "trailing" included.
    settings |= {"timestep_spacing": "leading", "steps_offset": visited[-1], "set_alpha_to_one": True}
    written = "".join(f"    {key}={_word(value)},\n" for key, value in settings.items())
    return [
        f"scheduler = DDIMScheduler.from_pretrained(\n    {where}{folder},\n{written})",
        "pictures = DDIMPipeline(unet, scheduler)(",
        f"    batch_size={recipe.pictures}, num_inference_steps={len(visited)}, eta=0.0, use_clipped_model_output=True,",
        f"    generator=[torch.Generator().manual_seed(seed) for seed in {_seeds(recipe, arm)}],",
        ").images",
        *_saved(number),
    ]


def _solver_arm(recipe: Recipe, arm: Arm, schedule: Schedule, number: int, where: str, folder: str) -> list[str]:
    """diffusers' solver on the arm's own list; its thresholding to at most 1 is our clipping."""
    settings: dict[str, Any] = {"solver_order": 2, "algorithm_type": "dpmsolver++", "thresholding": arm.clip != "off"}
    if arm.clip != "off":
        settings["sample_max_value"] = 1.0 if arm.clip == "clip" else 1e9
    written = "".join(f"    {key}={_word(value)},\n" for key, value in settings.items())
    noise = "torch.randn(1, unet.config.in_channels, *2 * [unet.config.sample_size], generator=torch.Generator().manual_seed(seed))"
    return [
        f"scheduler = {SOLVER}.from_pretrained(\n    {where}{folder},\n{written})",
        f"scheduler.set_timesteps(timesteps={_visited(arm, schedule)})",
        f"x = torch.cat([\n    {noise}\n    for seed in {_seeds(recipe, arm)}\n])",
        "with torch.no_grad():",
        "    for t in scheduler.timesteps:",
        "        x = scheduler.step(unet(x, t).sample, t, x).prev_sample",
        "pictures = numpy_to_pil((x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy())",
        *_saved(number),
    ]


def _seeds(recipe: Recipe, arm: Arm) -> str:
    return "seeds" if arm.seed is None else str([picture_seed(arm.seed, i) for i in range(recipe.pictures)])


def _saved(number: int) -> list[str]:
    return ["for i, picture in enumerate(pictures):", f'    picture.save(f"arm-{number}-picture-{{i}}.png")']


def _classes(value: Any) -> Iterator[type]:
    """The dataclasses that a value is made of."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value)
        for field in _set_fields(value):
            yield from _classes(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _classes(item)


def _set_fields(value: Any) -> list[dataclasses.Field[Any]]:
    """The fields that differ from their defaults."""
    return [field for field in dataclasses.fields(value) if field.init and getattr(value, field.name) != field.default]


def _literal(value: Any, depth: int) -> str:
    """Python for a value of dataclasses, tuples and plain values, over several lines where it is long."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [f"{field.name}={_literal(getattr(value, field.name), depth + 1)}" for field in _set_fields(value)]
        return _call(f"{type(value).__name__}(", items, ")", depth)
    if isinstance(value, tuple):
        items = [_literal(item, depth + 1) for item in value]
        return _call("(", [*items[:-1], items[-1] + ","] if len(items) == 1 else items, ")", depth)
    return _word(value)


def _call(opening: str, items: list[str], closing: str, depth: int) -> str:
    one_line = opening + ", ".join(items) + closing
    if len(one_line) + 4 * depth < 100 and "\n" not in one_line:
        return one_line
    indent = "    " * (depth + 1)
    return opening + "\n" + "".join(f"{indent}{item.removesuffix(',')},\n" for item in items) + "    " * depth + closing


def _word(value: object) -> str:
    """A plain value in Python, strings in double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
