"""`python -m ddim_app quality`: the DDIM paper's Table 1 of a model: how good its pictures are over steps and eta, with errors."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddim_app.backends import launch
from ddim_app.commands import sample
from ddim_app.commands.generate import HELP
from ddim_app.errors import FieldError, RunError, whole
from ddim_app.runs import key_values

if TYPE_CHECKING:
    from ddim_app.studies.picture_sets import PictureSet
    from ddim_app.studies.quality_table import QualityCell, QualityTable

ROWS = "0,0.2,0.5,1,sigma-hat"
OWN = {"method", "steps", "timesteps", "eta", "variance"}
EPILOG = """\
The distances are this project's own and are called by their names; they cannot be laid beside figures of other programs. Stopped
and started again it goes on. By many processes: torchrun --nproc_per_node 8 -m ddim_app quality ... (see docs/scale.md).
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "quality", help="how good a model's pictures are over steps and eta", description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="a model of weights/ or runs/, a folder, or an id on the Hugging Face Hub")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="PICTURES", help="training pictures: a folder or an archive"
    )
    parser.add_argument(
        "--held-out", type=Path, metavar="PICTURES", help="pictures that the model has not seen, for a line of their own"
    )
    parser.add_argument("--steps", dest="columns", default="5,10,20,50,100", metavar="S,..", help="default 5,10,20,50,100")
    parser.add_argument(
        "--eta", dest="rows", default="0,0.2,0.5,1,sigma-hat", metavar="ETA,..", help="default 0,0.2,0.5,1,sigma-hat"
    )
    parser.add_argument("--pictures", type=int, default=2048, metavar="N", help="of a cell (default 2048)")
    parser.add_argument(
        "--output", type=Path, default=Path("quality"), metavar="DIR", help="cells, and table.txt, .json and .svg (default quality)"
    )
    parser.add_argument("--force", action="store_true", help="measure with fewer than 500 pictures, however little it says")
    parser.add_argument("--drawn", action="store_true", help="draw nothing: the table of the cells that are complete")
    for key in sample.settings():
        if key not in OWN:
            parser.add_argument(key_values.option(key), dest=key, metavar="X", help=HELP[key])
    parser.set_defaults(run=run, parser=parser, method=None, steps=None, timesteps=None, eta=None, variance=None, precision="fp32")


def run(arguments: argparse.Namespace) -> None:
    launch.take_own_gpu()
    from ddim_app.commands.engines import local_engine
    from ddim_app.studies import quality_table as tables
    from ddim_app.studies.inversion_table import parse_steps
    from ddim_app.studies.ranks import Ranks
    from ddim_app.studies.set_drawing import complete

    ranks = Ranks()
    try:
        with ranks.together():
            whole("pictures", arguments.pictures, 1)
            cells = tables.cells(tables.parse_rows(arguments.rows), parse_steps(arguments.columns))
            recipe = sample.recipe_of(arguments)
            engine = local_engine(recipe.model)
            shape = engine.model(recipe.model).shape
            sets = {cell: cell_set(engine, recipe, cell, arguments) for cell in cells}
            ranks.agree({"output": str(arguments.output), "pictures": arguments.pictures, **_given(sets)})
            if ranks.is_first:
                reference = tables.read_pictures("reference", arguments.reference, shape, 3 * arguments.pictures)
                tables.check_count(arguments.pictures, reference, arguments.force, shape)
            if not arguments.drawn:
                complete(engine, list(sets.values()), ranks)
            if ranks.is_first:
                table = judge(arguments, reference, shape, sets)
                keep(engine.catalogue.find(recipe.model), table)
    except RunError as error:
        raise RunError(f"{error}; what was drawn stays in {arguments.output}, and the same command goes on") from error


def cell_set(engine: Any, recipe: Any, cell: "QualityCell", arguments: argparse.Namespace) -> "PictureSet":
    """The set of a cell's pictures, in its own folder; raises FieldError."""
    from ddim_app.studies.picture_sets import PictureSet, pinned

    made, made_with = pinned(engine, recipe.with_arms(cell.arm(recipe.arms[0])))
    return PictureSet(arguments.output / cell.name, made, arguments.pictures, "npz", made_with)


def _given(sets: "dict[QualityCell, PictureSet]") -> dict[str, Any]:
    return {cell.name: each.settings for cell, each in sets.items()}


def judge(arguments: argparse.Namespace, reference: Any, shape: Any, sets: "dict[QualityCell, PictureSet]") -> "QualityTable":
    """The table of the cells that are drawn, printed and written beside them; raises FieldError."""
    from ddim_app.media.files import write_file, write_json
    from ddim_app.studies import quality_table as tables
    from ddim_app.studies.quality_figure import svg

    drawn = {cell: each for cell, each in sets.items() if each.is_whole()}
    if not drawn:
        raise FieldError("output", f"has no cell with {arguments.pictures} pictures yet: leave out --drawn to have them drawn")
    held_out = arguments.held_out and tables.read_pictures("held-out", arguments.held_out, shape, arguments.pictures)
    base, beside = tables.beside(reference, arguments.pictures, held_out)
    figures = {(cell.row, cell.steps): base.figures(each.pixels()) for cell, each in drawn.items()}
    table = tables.QualityTable(
        arguments.model, common(list(sets.values())), arguments.reference.name, arguments.pictures, figures, beside
    )
    print("", *table.lines(), sep="\n")
    _write(arguments.output, table, write_file, write_json, svg)
    return table


def keep(folder: Path, table: "QualityTable") -> None:
    """Puts the table where the page shows it, which a command that has its files can do without."""
    from ddim_app.studies import quality_files

    try:
        path = quality_files.keep(folder, table)
    except OSError as error:
        print(f"the page will not show it, since it cannot be kept beside the model: {error}")
        return
    print(f"kept for the page as {path}" if path else "the page goes on showing the table it has, which says more")


def common(sets: "list[PictureSet]") -> dict[str, Any]:
    """The settings that all cells have."""
    first = sets[0].settings
    return {name: value for name, value in first.items() if all(each.settings.get(name) == value for each in sets)}


def _write(folder: Path, table: "QualityTable", write_file: Any, write_json: Any, svg: Any) -> None:
    write_file(folder / "table.txt", ("\n".join(table.lines()) + "\n").encode())
    write_json(folder / "table.json", table.as_json())
    write_file(folder / "table.svg", svg(table).encode())
    print(f"\nsaved as {folder / 'table'}.txt, .json and .svg")
