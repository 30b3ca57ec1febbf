"""The stored set of the bundled model, as it lies in the package; `python -m ddim_app.ui.first_run` makes it."""

from functools import cache

from ddim_app.studies.stored_sets import StoredSet
from ddim_app.ui.assets import FOLDER

STORED = "avatars-32"
"""Its name."""


@cache
def stored_set() -> StoredSet:
    stored = StoredSet.load(FOLDER / "stored", STORED)
    assert stored is not None, "the stored set is damaged: python -m ddim_app.ui.first_run makes it anew"
    return stored
