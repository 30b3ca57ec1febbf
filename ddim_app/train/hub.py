"""Uploading a finished run's model to the Hugging Face Hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ddim_app.train.config import TrainError
from ddim_app.train.folder import MODEL_FILES


def push(folder: Path, repository: str) -> str:
    """The address of the uploaded model; only the model's files travel, no training picture. Raises TrainError."""
    api = HfApi()
    try:
        address = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=folder, allow_patterns=MODEL_FILES, commit_message="Upload model")
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainError(
            f"--push-to-hub {repository}: the upload failed ({reason}); the model is whole in {folder}, and the same command "
            "tries again"
        ) from error
    return str(address)
