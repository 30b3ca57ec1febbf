"""Recipes of inversions of a toy picture."""

from ddim_app.runs.inversion import InversionArm, InvertRecipe
from ddim_app.runs.sources import of_tensor
from tests import toys

PICTURE = of_tensor(toys.pictures(1, (3, 8, 8))[0] / 2)


def asked(*ways, **settings):
    return InvertRecipe(**({"model": "a", "sources": (PICTURE,), "arms": ways or (InversionArm(steps=5),)} | settings))
