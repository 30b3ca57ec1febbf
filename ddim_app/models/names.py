"""Names of models as people give them: an id of the Hub, perhaps with a revision, or the address of its page."""

import re
from typing import NamedTuple
from urllib.parse import unquote

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,94}[A-Za-z0-9]/[A-Za-z0-9][\w.-]{0,94}[A-Za-z0-9](@[A-Za-z0-9][\w./-]{0,98})?", re.ASCII)
PAGE = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?:models/)?(?!(?:datasets|spaces)/)([^/?#@]+/[^/?#@]+)(/[^?#]*)?(?:[?#].*)?",
    re.IGNORECASE,
)
"""The address of a model's page: owner/name, and what follows it."""
SHOWN = re.compile(r"/(?:tree|blob|resolve|raw|commit)/(refs/\w+/[^/]+|[^/]+)(?:/.*)?")
"""What follows on a page that shows a revision, or a file of one."""


class HubName(NamedTuple):
    """A repository of the Hub and a revision of it; None is what its owner has last put on the main branch."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository

    @property
    def pull_request(self) -> str | None:
        """The number of the pull request that the revision is."""
        return self.revision.removeprefix("refs/pr/") if self.revision and self.revision.startswith("refs/pr/") else None


def canonical(text: str) -> str:
    """A name without spaces around it and slashes behind it, and owner/name or owner/name@revision for the address of a page."""
    text = text.strip().rstrip("/") or text.strip()
    page = PAGE.fullmatch(text)
    if page is None:
        return text.removesuffix("@main")
    shown = SHOWN.fullmatch(unquote(page[2] or ""))
    revision = shown[1] if shown and shown[1] != "main" else None
    return str(HubName(page[1], revision))


def hub_name(name: str) -> HubName | None:
    """The repository and revision that a canonical name can only mean; None when it is no id of the Hub."""
    if not HUB_ID.fullmatch(name) or ".." in name or "--" in name:
        return None
    repository, _, revision = name.partition("@")
    return HubName(repository, revision or None)
