"""A recipe as pairs of key and text, for links and command lines; read from the fields of its dataclass, whatever its kind.

Only what differs from the defaults is written. The settings of the first arm stand beside those of the recipe, and each further
arm in an `arm` of its own that names what it has otherwise than the arm before: `steps=10&seed=7&arm=method:ddpm`. A key that
the recipe has too is the arm's as `arm.seed`. Texts are what JSON cannot tell apart as JSON, which any value may be.
"""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, Union
from urllib.parse import parse_qsl, quote, unquote

from ddim_app.errors import FieldError, shown
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.kinds import KINDS
from ddim_app.runs.sampling import Recipe

MAX_QUERY = 16_000
"""Characters of a link's query that are read; 64 arms need about 3,000."""
MAX_PAIRS = 300
NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,20})?(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
Pair = tuple[str, str]


class RecipePart(NamedTuple):
    """A field of a recipe that is itself a dataclass, or a tuple of them, and has no default."""

    name: str
    kind: type
    many: bool

    @property
    def key(self) -> str:
        return self.name.removesuffix("s") if self.many else self.name


class RecipeField(NamedTuple):
    """What a key stands for: a field of the recipe, or of one of its RecipeParts."""

    part: str | None
    name: str
    hint: Any
    default: Any


def hints(cls: type) -> dict[str, Any]:
    """The types of a dataclass' fields, in their order."""
    known = typing.get_type_hints(cls)
    return {field.name: known[field.name] for field in dataclasses.fields(cls) if field.init}


def nested(hint: Any) -> tuple[type, bool] | None:
    """(dataclass, whether there are several) where a field's type is a dataclass or a tuple of them."""
    inner = typing.get_args(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint, False
    if typing.get_origin(hint) is tuple and len(inner) == 2 and isinstance(inner[0], type) and dataclasses.is_dataclass(inner[0]):
        return inner[0], True
    return None


def parts(cls: type) -> list[RecipePart]:
    required = {field.name for field in dataclasses.fields(cls) if _default(field) is dataclasses.MISSING}
    return [RecipePart(name, *inner) for name, hint in hints(cls).items() if name in required and (inner := nested(hint))]


def slots(cls: type[BaseRecipe]) -> dict[str, RecipeField]:
    """Every key that a recipe of this kind may have, its version and further arms aside."""
    apart = {part.name: part for part in parts(cls)}
    own = {name: RecipeField(None, name, hint, default) for name, hint, default in _fields(cls) if name not in {*apart, "version"}}
    keyed: dict[str, RecipeField] = {}
    for name, part in apart.items():
        for inner, hint, default in _fields(part.kind):
            key = f"{part.key}.{inner}" if inner in own or inner in keyed or inner in ("kind", "v", part.key) else inner
            keyed[key] = RecipeField(name, inner, hint, default)
    return {**own, **keyed}


def to_pairs(recipe: BaseRecipe, always: Collection[str] = ()) -> list[Pair]:
    """The pairs that from_pairs makes the recipe of again; keys in `always` are there at their default too."""
    values = json.loads(recipe.to_json())
    pairs = [("kind", recipe.kind)] if recipe.kind != Recipe.kind else []
    first = {
        part.name: values[part.name][0] if part.many and values[part.name] else values[part.name] for part in parts(type(recipe))
    }
    for key, slot in slots(type(recipe)).items():
        if slot.part is None or isinstance(first[slot.part], dict):
            value = (values if slot.part is None else first[slot.part]).get(slot.name)
            if (value != slot.default or key in always) and not (value is None and slot.default is dataclasses.MISSING):
                pairs.append((key, value_text(value, slot.hint)))
    for part in parts(type(recipe)):
        if part.many:
            pairs += [(part.key, _change(part.kind, *two)) for two in zip(values[part.name], values[part.name][1:], strict=False)]
    return sorted(pairs, key=lambda pair: pair[0] in ("bucket", "backend", "weights"))  # what nobody reads comes last


def from_pairs(pairs: Iterable[Pair]) -> dict[str, Any]:
    """A recipe's values as its JSON has them, with keys that no recipe of the kind has left as they are, for others to judge.

    Raises FieldError when a key is there twice.
    """
    given: dict[str, str] = {}
    further: dict[str, list[str]] = {}
    pairs = list(pairs)
    kind = dict(pairs).get("kind", Recipe.kind)
    cls = KINDS[kind].recipe if kind in KINDS else Recipe
    names = {part.name: part.key for part in parts(cls)}
    repeated = {part.key: part for part in parts(cls) if part.many}
    for key, text in pairs:
        if key in names and names[key] != key:
            raise FieldError(key, f"are given one by one, as {names[key]}")
        if key in repeated:
            further.setdefault(key, []).append(text)
        elif key in given:
            raise FieldError(shown(key), "is there twice: keep one of them")
        else:
            given[key] = text
    values: dict[str, Any] = {"kind": kind}
    if "v" in given:
        values["version"] = text_value(given.pop("v"), int)
    known = slots(cls)
    inner: dict[str, dict[str, Any]] = {part.name: {} for part in parts(cls)}
    for key, text in given.items():
        slot = known.get(key)
        if slot is None:
            values[key] = text
        elif (value := text_value(text, slot.hint)) is not None:
            (values if slot.part is None else inner[slot.part])[slot.name] = value
    for part in parts(cls):
        values[part.name] = _chain(part.kind, inner[part.name], further.get(part.key, [])) if part.many else inner[part.name]
    return values


def to_query(recipe: BaseRecipe, always: Collection[str] = ()) -> str:
    """The recipe as the query of a link, without its question mark."""
    pairs = [("v", str(recipe.version)), *to_pairs(recipe, always)]
    return "&".join(f"{quote(key)}={quote(text, safe=',:~/')}" for key, text in pairs)


def from_query(query: str) -> dict[str, Any]:
    """The values of a link's query; raises FieldError when it is too long or names a key twice."""
    if len(query) > MAX_QUERY:
        raise FieldError("link", f"must have at most {MAX_QUERY} characters after its address; this one has {len(query)}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PAIRS)
    except ValueError as error:
        raise FieldError("link", f"must have at most {MAX_PAIRS} settings; this one has more") from error
    # What page, host and theme add to an address is nobody's setting.
    return from_pairs((key, text) for key, text in pairs if not key.startswith("__") and key not in ("view", "logs", "lang"))


def is_recipe(query: str) -> bool:
    """Whether a page was opened with settings in its address, rather than with what hosts and counters put there."""
    keys = {key.split("=")[0] for key in query[:MAX_QUERY].split("&")}
    return bool(keys & {"v", "kind", "arm", *slots(Recipe)})


def to_arguments(recipe: BaseRecipe) -> list[str]:
    """The recipe as arguments of a command."""
    words = []
    for key, text in to_pairs(recipe):
        text = '"--"' if text == "--" else text  # which argparse takes for the end of the options, wherever it stands
        words += [f"{option(key)}={text}"] if text.startswith("-") else [option(key), text]
    return words


def option(key: str) -> str:
    return "--" + key.replace("_", "-")


def value_text(value: object, hint: Any) -> str:
    """A JSON value as the shortest text that `text_value` reads again as the same value."""
    text = _plain(value)
    if text is not None:
        again = text_value(text, hint)
        if again == value and isinstance(again, bool) == isinstance(value, bool):
            return text
    return json.dumps(value, separators=(",", ":"))


def text_value(text: str, hint: Any) -> Any:
    """The JSON value that a text stands for in a field of this type; text that fits none stays text, for the field's judge."""
    if text[:1] in tuple('"[{'):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    if text == "":
        return None
    for option in _options(hint):
        if option is bool and text in ("true", "false"):
            return text == "true"
        if option is int and re.fullmatch(r"-?\d{1,20}", text, re.ASCII):
            return int(text)
        if option is float and NUMBER.fullmatch(text):
            return float(text)
        if typing.get_origin(option) is tuple and typing.get_args(option) and nested(option) is None:
            return [text_value(item, typing.get_args(option)[0]) for item in text.split("~")]
        if option is str:
            return text
    return text


def _change(cls: type, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What of `after` is otherwise than `before`, as `name:text,name:text`."""
    changed = [(name, hint) for name, hint, _ in _fields(cls) if before.get(name) != after.get(name)]
    return ",".join(f"{name}:{_escaped(value_text(after.get(name), hint) if name in after else '')}" for name, hint in changed)


def _chain(cls: type, first: dict[str, Any], changes: list[str]) -> list[dict[str, Any]]:
    known = hints(cls)
    chain = [first]
    for text in changes:
        values = dict(chain[-1])
        for item in filter(None, text.split(",")):
            name, _, written = item.partition(":")
            value = text_value(unquote(written), known.get(unquote(name), str))
            values[unquote(name)] = value
        chain.append({name: value for name, value in values.items() if value is not None})
    return chain


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace(",", "%2C").replace(":", "%3A")


def _plain(value: object) -> str | None:
    """Text without quotes for a value that may have one; None for JSON objects."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return None if None in items else "~".join(item for item in items if item is not None)
    return None if isinstance(value, dict) else str(value)


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fields(cls: type) -> list[tuple[str, Any, Any]]:
    """(name, type, default as JSON has it) of each field."""
    known = hints(cls)
    return [(field.name, known[field.name], _as_json(_default(field))) for field in dataclasses.fields(cls) if field.init]


def _default(field: Any) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _as_json(value: Any) -> Any:
    if value is dataclasses.MISSING:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key: item for key, item in json.loads(json.dumps(dataclasses.asdict(value))).items() if item is not None}
    return json.loads(json.dumps(value))
