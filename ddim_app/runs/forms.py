"""Raw values of the page's, the API's and the command line's fields to recipes: runs of samplers, paths and mixes.

One reading for the page, the API and the command line; a wrong value is answered by FieldError, in one sentence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ddim_app.diffusion.noise import MAX_SEED, Shape, picture_seed
from ddim_app.errors import FieldError, choice, shown, whole
from ddim_app.media.images import RECIPE_KEY, open_picture, read_header
from ddim_app.runs import latent_files, methods
from ddim_app.runs.interpolation import ENDS, MODES, MovingArm, PathRecipe
from ddim_app.runs.kinds import from_json
from ddim_app.runs.mixing import MixRecipe
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source, of_image, of_tensor

ALL_MODES = (*MODES, "mix")
METHODS = (*methods.METHODS, "both", "all")
"""A sampler; `both`: DDIM and DDPM; `all`: DDIM, then DDPM with each kind of step noise."""
TABLE_ROWS = 8
"""Transitions between the levels of a table, as in the DDPM paper's Fig. 9: T, 7/8 T, .. 0."""
KEYS = 4
"""How many ends a loop has when no seeds are given."""
OWN = {
    "line": ("frames", "start", "stop"), "grid": ("rows", "columns"), "loop": ("frames",), "variation": ("strength",),
    "arithmetic": ("frames", "start", "stop"), "truncation": ("frames", "start", "stop"),
}  # fmt: skip
"""The numbers that a mode has; others are not looked at."""


@dataclass(frozen=True)
class EndFile:
    """The ends that one file gives, and how they are to be decoded where they say so."""

    ends: tuple[Source, ...]
    timesteps: tuple[int, ...] | None = None
    """The timesteps on which pictures were inverted to these latents, which are then decoded without clipping."""


def parse_seeds(text: object, seed: int, count: int) -> list[int]:
    """`count` seeds from text such as "7, 12"; those that are not named count up from the last, or from `seed`.

    >>> parse_seeds("7, 12", 0, 4)
    [7, 12, 13, 14]
    >>> parse_seeds("", 3, 2)
    [3, 4]
    """
    if text is None:
        text = ""
    if not isinstance(text, str) or len(text) > 400:
        raise FieldError("seeds", f"must be whole numbers separated by commas, such as 7, 8; got {shown(text)}")
    words = text.replace(",", " ").split()
    seeds = [whole("seeds", int(word) if word.isdecimal() and len(word) < 20 else word, 0, MAX_SEED) for word in words]
    if len(seeds) > count:
        raise FieldError("seeds", f"must be at most {count} here; got {len(seeds)}")
    while len(seeds) < count:
        seeds.append(picture_seed(seeds[-1], 1) if seeds else seed)
    return seeds


def named_seeds(text: object) -> int:
    """How many seeds a text names."""
    return len(text.replace(",", " ").split()) if isinstance(text, str) else 0


def read_end(data: bytes, shape: Shape) -> EndFile:
    """The ends of a file: a latent file, a picture of an earlier run that names its seed, or any other picture."""
    if _is_latent_file(data):
        return _read_latents(data, shape)
    try:
        header = read_header(data)
    except ValueError as error:
        raise FieldError("file", f"must be a picture, or a latent file of this app; it cannot be used: {error}") from error
    seed = _seed_inside(header.info.get(RECIPE_KEY))
    return EndFile((Source(seed=seed),)) if seed is not None else EndFile((read_picture(data, shape),))


def read_picture(data: bytes, shape: Shape) -> Source:
    """A picture file fitted to a model of pictures of `shape` (C, H, W)."""
    if _is_latent_file(data):
        raise FieldError("file", "must be a picture here; this is a latent file, which only paths between latents take")
    try:
        return of_image(open_picture(data, at_least=max(shape)), shape)
    except FieldError:
        raise
    except ValueError as error:
        raise FieldError("file", f"cannot be used: {error}") from error


def _is_latent_file(data: bytes) -> bool:
    return data[8:9] == b"{" and not data.startswith((b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF", b"BM"))


def _read_latents(data: bytes, shape: Shape) -> EndFile:
    latent = latent_files.load(data).check_shape(shape).check_end("file")
    ends = tuple(of_tensor(x) for x in latent.x)
    drawn = isinstance(latent.recipe, PathRecipe | Recipe)
    return EndFile(ends, None if drawn else latent.timesteps)


def _seed_inside(text: object) -> int | None:
    """The seed of a picture of an earlier run, where its recipe tells of one picture alone."""
    if not isinstance(text, str):
        return None
    try:
        recipe = from_json(text)
    except FieldError:
        return None
    if not isinstance(recipe, Recipe) or recipe.pictures != 1 or len(recipe.arms) != 1:
        return None
    return recipe.seed if recipe.arms[0].seed is None else recipe.arms[0].seed


def interpolation(
    settings: Mapping[str, Any], files: Sequence[bytes | None], num_train_timesteps: int, shape: Shape | None
) -> PathRecipe | MixRecipe:
    """The recipe of raw values of the page's, the API's or the command line's fields.

    `files[i]` takes the place of end i; a file of several latents gives as many ends. `shape` is the model's, which only files
    need. Raises FieldError at the first wrong value.
    """
    mode = choice("mode", settings["mode"], ALL_MODES)
    if any(files) and shape is None:
        raise FieldError("file", "needs a model that is here already: run the model once with seeds, then add the file")
    if mode == "mix":
        return _mix(settings, files, num_train_timesteps, shape)
    count = _count(mode, settings, files)
    ends = [Source(seed=seed) for seed in parse_seeds(settings["seeds"], whole("seed", settings["seed"], 0, MAX_SEED), count)]
    visited = set()
    for i, data in enumerate(files):
        if data and shape is not None and i < count:
            given = read_end(data, shape)
            ends[i : i + len(given.ends)] = given.ends
            visited |= {given.timesteps} if given.timesteps else set()
    if len(visited) > 1:
        raise FieldError("file", "and the other files must be inverted on the same timesteps; invert both with one step list")
    numbers = {name: settings[name] for name in OWN[mode]}
    run = _run(settings)
    if run["precision"] == "fast" and (visited or any(end.png for end in ends)):
        run["precision"] = "fp32"  # bf16 cannot invert, nor bring back what was inverted
    recipe = PathRecipe(
        mode=mode, way=settings["way"], ends=tuple(ends[:count]), arms=_arms(settings, num_train_timesteps), **numbers, **run
    )  # fmt: skip
    return decoded_on(recipe, next(iter(visited))) if visited else recipe


def decoded_on(recipe: PathRecipe, timesteps: tuple[int, ...]) -> PathRecipe:
    """The recipe for latents that pictures were turned into: on their own timesteps, clipping off."""
    arms = tuple(replace(arm, timesteps=timesteps, steps=len(timesteps), clip="off") for arm in recipe.arms)
    return replace(recipe, arms=arms)


def _count(mode: str, settings: Mapping[str, Any], files: Sequence[bytes | None]) -> int:
    """How many ends there are: what the mode needs, or as many as are named."""
    least, most = ENDS[mode]
    if mode == "variation":
        return whole("frames", settings["frames"], least, most)
    if mode == "loop":
        given = max((i + 1 for i, data in enumerate(files) if data), default=0)
        return min(most, max(least, named_seeds(settings["seeds"]) or KEYS, given))
    return least


def _arms(settings: Mapping[str, Any], T: int) -> tuple[MovingArm, ...]:
    method = choice("method", settings["method"], METHODS)
    steps, ddpm_steps = _steps(settings, T)
    shared = {"guidance": settings.get("guidance"), **{name: settings[name] for name in ("spacing", "clip")}}
    ddim = MovingArm(method="ddim", steps=steps, eta=settings["eta"], noise=settings["noise"], **shared)
    ddpm = MovingArm(method="ddpm", steps=ddpm_steps, variance=settings["variance"], noise=settings["noise"], **shared)
    if method == "all":
        return (ddim, *(replace(ddpm, noise=noise) for noise in ("slerp", "shared", "fresh")))
    if method == "both":
        return ddim, ddpm
    return ({"ddim": ddim, "ddpm": ddpm}.get(method) or replace(ddim, method=method, eta=0.0),)


def _mix(settings: Mapping[str, Any], files: Sequence[bytes | None], T: int, shape: Shape | None) -> MixRecipe:
    seeds = parse_seeds(settings["seeds"], whole("seed", settings["seed"], 0, MAX_SEED), 2)
    ends = [Source(seed=seed) for seed in seeds]
    for i, data in enumerate(files[:2]):
        if data and shape is not None:
            ends[i] = read_picture(data, shape)
    steps, ddpm_steps = _steps(settings, T)
    level = whole("level", settings["level"], 0, T)
    levels = tuple(round(T * i / TABLE_ROWS) for i in range(TABLE_ROWS, -1, -1)) if settings["table"] is True else (level,)
    run, guidance = _run(settings), settings.get("guidance")
    return MixRecipe(
        ends=tuple(ends), levels=levels, frames=settings["frames"], q_noise=settings["q_noise"],
        step_noise="fresh" if settings["noise"] == "fresh" else "shared",
        chain=Arm(method="ddpm", steps=ddpm_steps, variance=settings["variance"], clip=settings["clip"], guidance=guidance),
        source=Arm(
            method="ddim", steps=steps, eta=settings["eta"], spacing=settings["spacing"], clip=settings["clip"], guidance=guidance
        ),
        **{**run, "noise_seed": run["noise_seed"] or 0},
    )  # fmt: skip


def _steps(settings: Mapping[str, Any], T: int) -> tuple[int, int]:
    """(DDIM's, DDPM's) steps; DDPM's of 0 or none are as many as DDIM's."""
    steps = whole("steps", settings["steps"], 1, T)
    return steps, whole("ddpm_steps", 0 if settings["ddpm_steps"] is None else settings["ddpm_steps"], 0, T) or steps


def _run(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "noise_seed": parse_noise_seed(settings["noise_seed"]),
        "bucket": settings.get("bucket") or None,
        "class_label": settings.get("class_label"),
        **{name: settings[name] for name in ("model", "branch", "precision")},
    }


def compare(settings: Mapping[str, Any], num_train_timesteps: int) -> Recipe:
    """The recipe of a comparison, DDIM(eta) beside DDPM, from the raw values of the page's or the API's fields.

    `ddpm_steps` of None or 0 means as many as `steps`. A `second_model` is sampled by the same two arms. Raises FieldError at
    the first wrong value.
    """
    steps, ddpm_steps = _steps(settings, num_train_timesteps)
    shared = {"guidance": settings.get("guidance"), **{name: settings[name] for name in ("spacing", "clip")}}
    arms = (
        Arm(method="ddim", steps=steps, eta=settings["eta"], **shared),
        Arm(method="ddpm", steps=ddpm_steps, variance=settings["variance"], **shared),
    )
    second = settings.get("second_model") or None
    return Recipe(arms=arms + tuple(replace(arm, model=second) for arm in arms if second), **_of_every_run(settings))


def generate(settings: Mapping[str, Any], num_train_timesteps: int) -> Recipe:
    """The recipe of one arm from raw values; `timesteps` is None, a list, or text such as "999, 500, 0"."""
    steps = whole("steps", settings["steps"], 1, num_train_timesteps)
    listed = parse_timesteps(settings["timesteps"], num_train_timesteps)
    keys = ("method", "spacing", "eta", "variance", "clip")
    steps = len(listed) if listed else steps
    arm = Arm(steps=steps, timesteps=listed, guidance=settings.get("guidance"), **{key: settings[key] for key in keys})
    return Recipe(arms=(arm,), **_of_every_run(settings))


def _of_every_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("model", "seed", "pictures", "branch", "precision")
    given = {"bucket": settings.get("bucket") or None, "class_label": settings.get("class_label")}
    return {"noise_seed": parse_noise_seed(settings["noise_seed"]), **given, **{key: settings[key] for key in keys}}


def parse_noise_seed(value: object) -> int | None:
    """A noise seed given as a number or as text; empty means that it follows the seed."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    return whole("noise_seed", value, 0, MAX_SEED)


def parse_timesteps(value: object, num_train_timesteps: int) -> tuple[int, ...] | None:
    """An explicit list of train timesteps, given as a list or as text; empty means none."""
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, str):
        words = value.replace(",", " ").split()
        value = [int(word) if word.isdecimal() and len(word) < 10 else word for word in words]
    if not isinstance(value, list | tuple):
        raise FieldError("timesteps", f"must be a list of whole numbers such as 999, 500, 0; got {shown(value)}")
    entries = tuple(whole("timesteps", t, 0, num_train_timesteps - 1) for t in value)
    if len(set(entries)) != len(entries):
        raise FieldError("timesteps", f"must not name a timestep twice; got {shown(list(entries))}")
    return tuple(sorted(entries, reverse=True))
