"""A small quality table."""

from ddim_app.studies.quality_table import QualityTable, SetFigures
from ddim_app.studies.set_distances import DistanceEstimate, Shares


def figures(value):
    shares = Shares(0.5, 0.5, 0.5, 0.5)
    return SetFigures(512, DistanceEstimate(value, 0.01), DistanceEstimate(10 * value, 0.1), shares)


def table(weights="a" * 64):
    """Two etas that have a name, two between, and sigma-hat, which has no cell of 10 steps."""
    values = {("0", 5): 0.7, ("0", 10): 0.4, ("0.2", 5): 0.75, ("0.5", 5): 0.8, ("1", 5): 0.9, ("sigma-hat", 5): 0.95}
    cells = {place: figures(value) for place, value in values.items()}
    return QualityTable("tiny", {"weights": weights}, "real.npz", 512, cells, {"other pictures of the reference": figures(0.0007)})
