"""Recipes out of and into the hands of strangers: JSON, PNG files, links. What is read is data, and is judged as such.

Whatever cannot be used raises FieldError with one sentence; what can be used without some part of it comes with notes.
"""

import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from PIL import Image

from ddim_app.errors import FieldError, shown
from ddim_app.media.images import RECIPE_KEY, png_bytes
from ddim_app.runs.base import LINK, VERSION, BaseRecipe
from ddim_app.runs.forms import METHODS, compare, generate, interpolation
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.key_values import from_query, hints, nested
from ddim_app.runs.kinds import KINDS
from ddim_app.runs.sampling import Arm, Recipe

RUN_KEY = "ddim_run"
"""PNG text entry of a picture whose run was stopped: how far it came, as JSON."""
MAX_FILE = 10_000_000
MAX_TEXT = 4_000_000
"""Characters of a recipe; one that carries a picture is some 200,000 long."""
MAX_NOTES = 5
MAX_STEPS = 100_000
"""Train timesteps of a model that is not at hand."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
OTHERS = {b"\xff\xd8\xff": "JPEG", b"RIFF": "WebP", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}


class StoppedRun(NamedTuple):
    """How far a run had come when it was stopped."""

    executed_steps: int
    steps: int


class ReadRecipe(NamedTuple):
    """A recipe from outside, and sentences on what was found beside it."""

    recipe: BaseRecipe
    notes: tuple[str, ...] = ()


def read_text(text: str) -> ReadRecipe:
    """The recipe of what somebody pasted: JSON, a link, or a link's query."""
    text = text.strip()
    if not text:
        raise FieldError("recipe", "must be a link or the JSON of a recipe; there is nothing")
    if text.startswith("{"):
        return read_json(text)
    if len(text) > MAX_TEXT:
        raise FieldError("recipe", f"must have at most {MAX_TEXT} characters; this one has {len(text)}")
    try:
        query = urlsplit(text).query if "?" in text else text
    except ValueError as error:
        raise FieldError("recipe", f"must be a link or the JSON of a recipe; got {shown(text)}") from error
    if "=" not in query:
        raise FieldError("recipe", f"must be a link with settings, or the JSON of a recipe; got {shown(text)}")
    return read_query(query)


def read_json(text: str) -> ReadRecipe:
    """The recipe of a JSON text."""
    if len(text) > MAX_TEXT:
        raise FieldError("recipe", f"must have at most {MAX_TEXT} characters; this one has {len(text)}")
    try:
        return read_values(json.loads(text))
    except (ValueError, RecursionError) as error:
        if isinstance(error, FieldError):
            raise
        raise FieldError("recipe", f"must be the JSON of a recipe; got {shown(text)}") from error


def read_query(query: str) -> ReadRecipe:
    """The recipe of a link's query."""
    return read_values(from_query(query))


def read_values(values: object) -> ReadRecipe:
    """The recipe of a JSON object; keys that this version does not know are left out, and named."""
    if not isinstance(values, dict):
        raise FieldError("recipe", f"must be the JSON of a recipe; got {shown(values)}")
    version, kind = values.get("version", VERSION), values.get("kind", Recipe.kind)
    if isinstance(version, int | float) and version > VERSION:
        raise FieldError("version", f"of this recipe is {shown(version)}, and this app reads up to {VERSION}: take a newer app")
    if not isinstance(kind, str) or kind not in KINDS:
        raise FieldError("kind", f"must be one of {', '.join(KINDS)}; got {shown(kind)}")
    unknown: list[str] = []
    cls = KINDS[kind].recipe
    known = _known(cls, {key: value for key, value in values.items() if key not in ("kind", LINK)}, "", unknown)
    try:
        recipe = cls.from_values(known)
    except FieldError:
        raise
    except KeyError as error:
        raise FieldError("recipe", f"lacks {shown(error.args[0])}") from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise FieldError("recipe", f"must be the JSON of a recipe; got {shown(values)}") from error
    return ReadRecipe(recipe, _unknown(unknown))


def read_file(data: bytes) -> ReadRecipe:
    """The recipe of a PNG that this app gave out, or of a file with a recipe's JSON."""
    if len(data) > MAX_FILE:
        raise FieldError("file", f"must have at most {MAX_FILE // 1_000_000} MB; this one has {len(data) / 1e6:.0f} MB")
    if data[:1] == b"{" or data.lstrip()[:1] == b"{":
        try:
            return read_json(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise FieldError("file", "must be the JSON of a recipe in UTF-8; this one is not") from error
    if not data.startswith(SIGNATURE):
        other = next((name for magic, name in OTHERS.items() if data.startswith(magic)), None)
        is_it = f"is a {other} picture, whatever its name says" if other else "is neither a PNG picture nor a recipe's JSON"
        raise FieldError("file", f"{is_it}: only the PNG files that this app gives out carry a recipe")
    texts = _png_texts(data)
    if RECIPE_KEY not in texts:
        raise FieldError("file", "carries no recipe: it is not one of this app's pictures, or was saved anew by another program")
    read = read_json(texts[RECIPE_KEY])
    return read._replace(notes=(*read.notes, *_stopped_note(texts.get(RUN_KEY))))


def texts(recipe: BaseRecipe, stopped: StoppedRun | None = None) -> list[tuple[str, str]]:
    """The PNG text entries of a picture of the recipe."""
    entries = [(RECIPE_KEY, recipe.to_json())]
    if stopped:
        entries.append((RUN_KEY, json.dumps({"interrupted": True, **stopped._asdict()}, separators=(",", ":"))))
    return entries


def png(image: Image.Image, recipe: BaseRecipe, stopped: StoppedRun | None = None) -> bytes:
    """A picture as PNG file that carries its recipe."""
    return png_bytes(image, texts(recipe, stopped))


def other_weights(recipe: BaseRecipe, hashes: Mapping[str, Collection[str | None]]) -> str | None:
    """A sentence when a model here has other weights than the recipe was made with; `hashes` by the models' names."""
    wrong = [
        name
        for name, sha256 in recipe.known_weights.items()
        if sha256 and not any(known and known.startswith(sha256) for known in hashes.get(name, (sha256,)))
    ]
    return f"{wrong[0]} has other weights here than the recipe was made with: the pictures will differ." if wrong else None


def checked(values: Mapping[str, Any]) -> Recipe:
    """The comparison that remembered fields stand for; raises FieldError. Its model judges its steps when it runs."""
    return compare(values, MAX_STEPS)


def compare_values(recipe: BaseRecipe) -> dict[str, Any] | None:
    """The fields of a comparison that make this recipe, its weights and backend aside; None when none do."""
    if not isinstance(recipe, Recipe) or len(recipe.arms) not in (2, 4):
        return None
    ddim, ddpm, *others = recipe.arms
    own = 0 if ddpm.steps == ddim.steps else ddpm.steps
    second = others[0].model if others else None
    values = {**_values(recipe, ddim), "ddpm_steps": own, "variance": ddpm.variance, "second_model": second or ""}
    return values if _same(compare(values, max(ddim.steps, ddpm.steps)), recipe) else None


def generate_values(recipe: BaseRecipe) -> dict[str, Any] | None:
    """The fields of a run of one arm that make this recipe, its weights and backend aside; None when none do."""
    if not isinstance(recipe, Recipe) or len(recipe.arms) != 1:
        return None
    arm = recipe.arms[0]
    listed = ", ".join(map(str, arm.timesteps or ()))
    values = {**_values(recipe, arm), "method": arm.method, "timesteps": listed}
    T = max(arm.steps, *(arm.timesteps or (0,))) + 1
    try:
        return values if _same(generate(values, T), recipe) else None
    except FieldError:  # a list of timesteps that names one twice, which only its plan refuses
        return None


def path_values(recipe: BaseRecipe) -> dict[str, Any] | None:
    """The fields of a path between seeds that make this recipe, its weights and backend aside; None when none do."""
    if not isinstance(recipe, PathRecipe) or any(end.seed is None for end in recipe.ends):
        return None
    first, last = recipe.arms[0], recipe.arms[-1]
    own = {key: getattr(recipe, key) for key in ("mode", "way", "rows", "columns", "start", "stop", "strength")}
    values = {
        **_values(recipe, first), **own, "noise": first.noise, "variance": last.variance, "seed": 0,
        "frames": len(recipe.ends) if recipe.mode == "variation" else recipe.frames,
        "seeds": ", ".join(str(end.seed) for end in recipe.ends), "ddpm_steps": 0 if last.steps == first.steps else last.steps,
    }  # fmt: skip
    try:
        made = {method: interpolation({**values, "method": method}, (), MAX_STEPS, None) for method in METHODS}
    except FieldError:  # more seeds than the field takes
        return None
    return next(({**values, "method": method} for method, other in made.items() if _same(other, recipe)), None)


def _values(recipe: Recipe | PathRecipe, arm: Arm) -> dict[str, Any]:
    noise_seed = "" if recipe.noise_seed is None else str(recipe.noise_seed)
    shared = {key: getattr(recipe, key) for key in ("model", "seed", "pictures", "branch", "precision") if hasattr(recipe, key)}
    settings = {key: getattr(arm, key) for key in ("steps", "spacing", "eta", "variance", "clip")}
    classes = {"class_label": recipe.class_label, "guidance": arm.guidance}
    given = {key: value for key, value in classes.items() if value is not None}
    return {**settings, **shared, "noise_seed": noise_seed, "bucket": recipe.bucket or 0, **given}


def _same(made: BaseRecipe, recipe: Recipe | PathRecipe) -> bool:
    """Whether two recipes mean the same run: weights and backend aside, and what an arm's method makes no use of."""

    def used(arm: Arm) -> Arm:
        other = {"variance": arm.sampler.variance_of(arm.variance)} | ({} if arm.sampler.eta is None else {"eta": 0.0})
        steps = {"steps": len(arm.timesteps), "spacing": "trailing"} if arm.timesteps else {}
        return replace(arm, weights=None, **other, **steps)  # type: ignore[arg-type]

    if not isinstance(made, Recipe | PathRecipe):
        return False
    first, second = (replace(r, weights=None, backend=None, arms=tuple(map(used, r.arms))) for r in (made, recipe))  # type: ignore[arg-type]
    return first == second


def _known(cls: type, values: Mapping[str, Any], where: str, unknown: list[str]) -> dict[str, Any]:
    """The values whose keys are fields of the dataclass, those inside its parts too; the others' names go to `unknown`."""
    types = hints(cls)
    unknown += [where + key for key in values if key not in types]
    known = {}
    for key, value in values.items():
        if key in types:
            inner = nested(types[key])
            if inner and isinstance(value, dict):
                value = _known(inner[0], value, f"{where}{key}.", unknown)
            elif inner and isinstance(value, list):
                value = [_known(inner[0], item, f"{where}{key}.", unknown) if isinstance(item, dict) else item for item in value]
            known[key] = value
    return known


def _unknown(names: list[str]) -> tuple[str, ...]:
    names = list(dict.fromkeys(names))
    notes = [f"{shown(name)} means nothing to this version and was left out." for name in names[:MAX_NOTES]]
    more = len(names) - MAX_NOTES
    return (*notes, *([f"So were {more} more."] if more > 0 else []))


def _stopped_note(text: str | None) -> tuple[str, ...]:
    try:
        done = json.loads(text or "null")
        executed, steps = (int(done[key]) for key in StoppedRun._fields)
    except (ValueError, TypeError, KeyError, RecursionError):
        return ()
    return (
        (f"The picture is of a run that was stopped after {executed} of {steps} steps.",)
        if abs(executed) + abs(steps) < 1e6
        else ()
    )


def _png_texts(data: bytes) -> dict[str, str]:
    """Our text entries of a PNG, found without decoding a pixel."""
    texts: dict[str, str] = {}
    offset = len(SIGNATURE)
    while offset + 12 <= len(data):
        size, name = int.from_bytes(data[offset : offset + 4]), data[offset + 4 : offset + 8]
        body, check = data[offset + 8 : offset + 8 + size], data[offset + 8 + size : offset + 12 + size]
        if len(check) < 4:
            break
        if name in (b"tEXt", b"zTXt", b"iTXt"):
            key, _, rest = body.partition(b"\0")
            if key in (RECIPE_KEY.encode(), RUN_KEY.encode()):
                if zlib.crc32(name + body) != int.from_bytes(check):
                    raise FieldError("file", "is damaged: the checksum of its recipe is wrong")
                texts.setdefault(key.decode(), _chunk_text(name, rest))
        if name == b"IEND":
            return texts
        offset += 12 + size
    raise FieldError("file", "is cut off or damaged: it has no end")


def _chunk_text(name: bytes, rest: bytes) -> str:
    packed = name == b"zTXt" or (name == b"iTXt" and rest[:1] == b"\1")
    if name == b"iTXt":
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif name == b"zTXt":
        rest = rest[1:]
    try:
        raw = zlib.decompressobj().decompress(rest, MAX_TEXT + 1) if packed else rest
        if len(raw) > MAX_TEXT:
            raise FieldError("file", f"carries a recipe of more than {MAX_TEXT} characters")
        return raw.decode("utf-8" if name == b"iTXt" else "latin-1")
    except (zlib.error, UnicodeDecodeError) as error:
        raise FieldError("file", "is damaged: its recipe cannot be read") from error
