"""Models of the Hugging Face Hub: what is fetched of a repository, how far that is, and what is refused."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils._fixes import WeakFileLock
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils.tqdm import tqdm

from ddim_app.models import model_files
from ddim_app.models.loading import ModelError, describe
from ddim_app.models.model_files import WeightFiles, weight_files
from ddim_app.models.names import HubName

MAX_DOWNLOAD = 4_000_000_000
"""Bytes; no unconditional UNet is near it."""


class Progress(str):
    """How far a download is: takes the place of the sentence before it."""


def say(message: str) -> None:
    """A sentence to standard error; how far a download is, the bar of the Hub's library shows there."""
    if not isinstance(message, Progress):
        print(message, file=sys.stderr)


class Listing(NamedTuple):
    """A repository at one of its commits, as the Hub lists it before anything is fetched."""

    name: HubName
    commit: str
    files: dict[str, Any]
    """What the Hub says of each file, by its name."""

    def weights(self, home: str) -> WeightFiles:
        """The weights in `home`, "unet/" or empty, by their names in the repository; raises ValueError with the reason."""
        inside = [name.removeprefix(home) for name in self.files if name.startswith(home)]
        found = weight_files(name for name in inside if "/" not in name)
        return found._replace(names=tuple(home + name for name in found.names))

    def size(self, weights: WeightFiles) -> int:
        return sum(self.files[name].size or 0 for name in weights.names)


class Checked(NamedTuple):
    """A model whose configs are here and fit, and whose weights may not be."""

    folder: Path
    weights: WeightFiles
    size: int
    listing: Listing | None
    """None when it is here as a whole."""


def cached(name: HubName) -> Path | None:
    """The snapshot folder of a model whose files are all in the cache of the Hub's library."""
    for config in model_files.UNET_CONFIGS:
        path = try_to_load_from_cache(name.repository, config, revision=name.revision)
        if isinstance(path, str):
            try:
                weight_files(file.name for file in Path(path).parent.iterdir() if file.exists())
            except ValueError:
                return None
            return _repository(Path(path), config)
    return None


def all_cached() -> Iterator[tuple[HubName, Path]]:
    """The models of the Hub that are in the cache of its library as far as this app could open them."""
    root = Path(constants.HF_HUB_CACHE)
    for path in sorted(root.glob("models--*--*")):
        name = HubName("/".join(path.name.split("--")[1:3]))
        folder = cached(name)
        if folder is not None:
            yield name, folder


def download(name: HubName, notify: Callable[[str], None], token: bool | None = False, size: int | None = None) -> Path:
    """The snapshot folder of a model of the Hub, from the cache when it is there; raises ModelError.

    `notify` is told of the size before anything large is fetched, and then how far it is. A `token` of None is that of whoever
    runs the program, False none. A `size` is as for `loading.describe`.
    """
    with told(name, token):
        return fetch(check(name, token, size), notify, token)


def check(name: HubName, token: bool | None = False, size: int | None = None) -> Checked:
    """The model once its configs are fetched and fit; nothing of its weights is. Raises ModelError."""
    folder = cached(name)
    if folder is not None:
        home = model_files.unet_folder(folder)
        assert home is not None
        found = weight_files(file.name for file in home.iterdir())
        return Checked(folder, found, sum((home / file).stat().st_size for file in found.names), None)
    with told(name, token):
        return _check(listing(name, token), token, size)


def listing(name: HubName, token: bool | None = False) -> Listing:
    info = HfApi(token=token).model_info(name.repository, revision=name.revision, files_metadata=True)
    return Listing(name, str(info.sha), {file.rfilename: file for file in info.siblings or []})


def renew(name: HubName, notify: Callable[[str], None], token: bool | None = None) -> HubName:
    """Fetches a model as its owner has it now; returns its commit, as a name. Raises ModelError."""
    with told(name, token):
        folder = fetch(_check(listing(name, token), token), notify, token)
        return HubName(name.repository, folder.name)


def _check(repository: Listing, token: bool | None, pixels: int | None = None) -> Checked:
    name = str(repository.name)
    config = next((file for file in model_files.UNET_CONFIGS if file in repository.files), None)
    if config is None:
        raise ModelError(f"model {name}: {model_files.no_config(repository.files)}")
    small = [file for file in model_files.SMALL if file in repository.files]
    large = next((file for file in small if (repository.files[file].size or 0) > model_files.MAX_CONFIG), None)
    if large:
        raise ModelError(f"model {name}: {large} has {megabytes(repository.files[large].size)}, which is no config")
    places = [Path(_file(repository.name, file, token)) for file in small]
    folder = _repository(places[small.index(config)], config)
    describe(folder, name, pixels)
    try:
        weights = repository.weights(config.removesuffix("config.json"))
    except ValueError as error:
        raise ModelError(f"model {name}: {error}") from error
    size = repository.size(weights)
    if size > MAX_DOWNLOAD:
        raise ModelError(f"model {name}: it has {size / 1e9:.1f} GB, and at most {MAX_DOWNLOAD / 1e9:.0f} GB are downloaded")
    return Checked(folder, weights, size, repository)


def _repository(path: Path, file: str) -> Path:
    """The folder in which a path ends with the name of a repository's file."""
    home = path.parent
    return home.parent if "/" in file else home


def _file(name: HubName, file: str, token: bool | None) -> str:
    return hf_hub_download(name.repository, file, revision=name.revision, token=token)


def fetch(checked: Checked, notify: Callable[[str], None], token: bool | None = False) -> Path:
    """Fetches the weights of a model that was checked; returns its folder."""
    repository = checked.listing
    if repository is None or cached(HubName(repository.name.repository, repository.commit)):
        return checked.folder
    name, words = str(repository.name), model_files.licence(checked.folder)
    said = f"Downloading {name} from the Hugging Face Hub"
    if repository.name.pull_request:
        notify(f"{name} is a pull request: what a visitor of the Hub proposes, not what its owner has published")
    notify(f"{said}: {megabytes(checked.size)}{f', licence {words}' if words else ''}")
    done = 0

    def tell(size: int) -> None:
        notify(Progress(f"{said}: {megabytes(done + size)} of {megabytes(checked.size)}"))

    for file in checked.weights.names:
        about = repository.files[file]
        if about.lfs is not None:
            _fetch_large(repository, file, tell, token)
        place = Path(_file(repository.name, file, token))
        done += about.size or 0
        if not place.is_relative_to(checked.folder):
            raise ModelError(f"model {name}: its owner has just changed it on the Hub: try again")
    return checked.folder


def _fetch_large(repository: Listing, file: str, tell: Callable[[int], None], token: bool | None) -> None:
    """Puts a file into the cache of the Hub's library, under its sha256 as the library does; goes on where an earlier try ended."""
    sha256, size = repository.files[file].lfs.sha256, repository.files[file].size
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository.name.repository, repo_type="model") / "blobs"
    blob, part = folder / sha256, folder / f"{sha256}.part"
    folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(folder / f"{sha256}.lock"):
        if blob.exists():
            return
        with part.open("ab") as target:
            here = target.tell()
            address = hf_hub_url(repository.name.repository, file, revision=repository.commit)
            http_get(
                address, target, resume_size=here, headers=build_hf_headers(token=token), expected_size=size,
                tqdm_class=_bar(tell, here),
            )  # fmt: skip
        with part.open("rb") as source:
            found = hashlib.file_digest(source, "sha256").hexdigest()
        if found != sha256:
            part.unlink()
            raise OSError(f"{file} arrived damaged")
        os.replace(part, blob)


def _bar(tell: Callable[[int], None], here: int) -> type[tqdm]:
    """A progress bar of the terminal that also tells how many bytes are here."""

    class DownloadBar(tqdm):
        def update(self, n: float | None = 1) -> Any:
            nonlocal here
            here += int(n or 0)
            tell(here)
            return super().update(n)

    return DownloadBar


def megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 10_000_000 else f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


@contextmanager
def told(name: HubName, token: bool | None) -> Iterator[None]:
    """Raises ModelError, in one sentence, for whatever the Hub and the network make of what is done inside."""
    known = f"model {name}"
    start = "" if token is None else f", and start the app with --model {name}"
    try:
        yield
    except ModelError:
        raise
    except GatedRepoError as error:
        words = f"accept its terms on the Hub, then `hf auth login`{start}"
        raise ModelError(f"{known}: it is gated: {words}") from error
    except RepositoryNotFoundError as error:
        words = f"if it is private and yours, `hf auth login`{start}"
        raise ModelError(f"{known}: there is no such public model on the Hugging Face Hub; {words}") from error
    except HFValidationError as error:
        raise ModelError(f"{known}: there is no such public model on the Hugging Face Hub") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{known}: the model has no revision {name.revision}") from error
    except OfflineModeIsEnabled as error:
        raise ModelError(f"{known}: it is not on this machine, and HF_HUB_OFFLINE=1 keeps it from being fetched") from error
    except Exception as error:  # the HTTP library's own errors change with its versions
        if isinstance(error, LocalEntryNotFoundError) or type(error).__name__.startswith(("Connect", "Proxy")):
            reason = "it is not on this machine, and the Hugging Face Hub cannot be reached to fetch it"
        else:
            words = str(error).strip().split("\n")[0][:120]
            reason = f"it could not be fetched from the Hugging Face Hub ({words}): try again; what has arrived of it is kept"
        raise ModelError(f"{known}: {reason}") from error
