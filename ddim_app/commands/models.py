"""`python -m ddim_app models`: which models are here, whether one opens, and one in the layout of diffusers."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddim_app.errors import FieldError, whole

if TYPE_CHECKING:
    from ddim_app.models.loading import Described


def add(commands: Any) -> None:
    parser = commands.add_parser("models", help="list the models here, check one, or convert one", description=__doc__)
    parser.set_defaults(run=lambda arguments: listed())
    acts = parser.add_subparsers(dest="act")
    check = acts.add_parser("check", help="say whether a model opens, before its weights are downloaded; exit 1 when it does not")
    check.add_argument("model", help="a model of weights/ or runs/, a folder, or an id or address on the Hugging Face Hub")
    check.set_defaults(run=lambda given: print(_in_words(lambda: checked(given.model, _judged(given.size)))))
    convert = acts.add_parser("convert", help="write a model as a folder of safetensors that diffusers loads")
    convert.add_argument("model", help="as for check")
    convert.add_argument("folder", type=Path, help="a new folder, or an empty one")
    convert.set_defaults(run=lambda given: print(_in_words(lambda: converted(given.model, given.folder, _judged(given.size)))))
    for act in (check, convert):
        act.add_argument("--size", type=int, metavar="PIXELS", help="a side of its pictures, where config.json has no sample_size")


def listed() -> None:
    """Prints the models of weights/ and runs/, and those of the Hub that are in its library's cache; a line each."""
    from ddim_app.models import hub  # here, since it brings torch along
    from ddim_app.models.catalogue import local
    from ddim_app.models.loading import ModelError, describe
    from ddim_app.models.model_files import licence

    for name, folder in (local().folders() | {str(name): folder for name, folder in hub.all_cached()}).items():
        try:
            print(f"{name}: {words(describe(folder, name), licence(folder))}")
        except ModelError as error:
            print(f"{name}: does not open: {str(error).removeprefix(f'model {name}: ')}")


def words(described: "Described", licence: str | None) -> str:
    """What the configs of a model say."""
    (channels, height, width), schedule = described.shape, described.schedule
    kind = f"{'grey' if channels == 1 else 'RGB'} {width} x {height}"
    if names := described.classes.names:
        kind += f", {len(names)} classes{' and a null class' if described.classes.null is not None else ''}"
    return f"{kind}, T = {schedule.num_train_timesteps}, predicts {schedule.prediction_type}, licence {licence or 'not named'}"


def checked(name: str, size: int | None = None) -> str:
    """How a model opens, with pictures of `size` pixels if that is given; raises ModelError with the reason when it does not.

    One that is here is loaded; of one that is not, only the configs are fetched.
    """
    from ddim_app.models import hub
    from ddim_app.models.catalogue import local
    from ddim_app.models.loading import describe
    from ddim_app.models.model_files import licence

    catalogue = local()
    known = catalogue.known_as(name)
    opens = "opens" if size is None else f"opens with --size {size}"
    if catalogue.folder(name) is None:
        folder, weights, length, listing = hub.check(*catalogue.hub_name(name), size)
        if listing is not None:
            files = f"{', '.join(weights.names)}, {hub.megabytes(length)}"
            pickled = ", a pickle that will be converted without running it" if weights.is_pickled else ""
            return f"{known} {opens}: {words(describe(folder, known, size), licence(folder))}; not downloaded yet: {files}{pickled}"
    model, folder = catalogue.load(name, hub.say, size), catalogue.find(name)
    return (
        f"{known} {opens}: {words(describe(folder, known, size), model.licence)}, {model.parameters / 1e6:.1f} million "
        f"parameters, sha256 {model.sha256}"
    )


def converted(name: str, folder: Path, size: int | None = None) -> str:
    """Writes a model as safetensors in the layout of diffusers' pipelines, with the `size` of its pictures if that is given.

    Raises ModelError or FieldError.
    """
    from ddim_app.models import hub
    from ddim_app.models.catalogue import local
    from ddim_app.models.saving import save

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FieldError("folder", f"must be a new folder, or an empty one; got {folder}")
    catalogue = local()
    model = catalogue.load(name, hub.say, size)
    try:
        save(model, catalogue.find(name), folder)
    except OSError as error:
        raise FieldError("folder", f"cannot be written: {error.strerror or error}") from error
    return f"wrote {folder}: {model.parameters / 1e6:.1f} million parameters, sha256 {model.sha256}"


def _judged(size: int | None) -> int | None:
    from ddim_app.models.network_config import MAX_SIDE

    return None if size is None else whole("size", size, 1, MAX_SIDE)


def _in_words(act: Callable[[], str]) -> str:
    from ddim_app.models.loading import ModelError

    try:
        return act()
    except ModelError as error:
        raise FieldError("model", str(error).removeprefix("model ")) from error
