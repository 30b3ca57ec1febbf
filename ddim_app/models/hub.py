"""Models of the Hugging Face Hub: what is fetched of a repository, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from ddim_app.models.loading import CONFIGS, WEIGHTS, ModelError, check_unet_config, read_config, unet_folder

if TYPE_CHECKING:
    pass


HUB_FILES = [*CONFIGS, WEIGHTS, f"unet/{WEIGHTS}"]
"""All that is ever fetched from the Hub."""


MAX_DOWNLOAD = 4_000_000_000
"""Bytes; no unconditional UNet is near it."""


HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,94}[A-Za-z0-9]/[A-Za-z0-9][\w.-]{0,94}[A-Za-z0-9]", re.ASCII)


def download(name: str, notify: Callable[[str], None]) -> Path:
    """The snapshot folder of a Hub repository, from the cache when it is there.

    Its configs come first; the weights are fetched only when they are of a model that can be used, and not too large.
    """
    try:
        folder = Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True))
        home = unet_folder(folder)
        if home is not None and (home / WEIGHTS).is_file():
            return folder
    except (LocalEntryNotFoundError, HFValidationError):
        pass
    try:
        folder = Path(snapshot_download(name, allow_patterns=CONFIGS))
        home = unet_folder(folder)
        if home is None:
            raise ModelError(f"model {name}: there is no config.json of a UNet2DModel in this repository")
        check_unet_config(read_config(home / "config.json", name), name)
        files = HfApi().model_info(name, files_metadata=True).siblings or []
        size = sum(file.size or 0 for file in files if file.rfilename in HUB_FILES)
        if size > MAX_DOWNLOAD:
            raise ModelError(f"model {name}: it has {size / 1e9:.1f} GB, and at most {MAX_DOWNLOAD / 1e9:.0f} GB are downloaded")
        notify(f"Downloading {name} from the Hugging Face Hub: {size / 1e6:.0f} MB")
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except ModelError:
        raise
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(f"model {name}: there is no such public model on the Hugging Face Hub") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"model {name}: it is not on this machine, and the Hugging Face Hub cannot be reached to fetch it"
        ) from error
    except Exception as error:  # the HTTP library's own errors change with its versions
        reason = str(error).strip().split("\n")[0][:120]
        raise ModelError(
            f"model {name}: it is not on this machine, and could not be fetched from the Hugging Face Hub ({reason})"
        ) from error
