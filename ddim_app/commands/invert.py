"""`python -m ddim_app invert`: pictures to latents and back by several methods, as a table, a JSON file and a curve."""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ddim_app.commands.engines import local_engine
from ddim_app.diffusion.schedule import SPACINGS
from ddim_app.errors import FieldError
from ddim_app.media.files import write_file, write_json
from ddim_app.media.folders import PICTURE_SUFFIXES
from ddim_app.media.images import formats, open_picture
from ddim_app.runs.inversion import METHODS, PRECISIONS, InversionArm, InvertRecipe
from ddim_app.runs.latent_files import SUFFIX
from ddim_app.runs.sources import Source, of_image

EPILOG = """\
examples:
  python -m ddim_app invert --images FOLDER --steps 10,20,50,100,200
  python -m ddim_app invert --images FOLDER --steps 50 --methods fixed-point --evaluations 110
  python -m ddim_app invert --seeds 1,2,3 --steps 50 --methods fixed-point --clamped
"""
COMMON = ("spacing", "strength", "eta", "decode_steps", "evaluations", "tolerance")
"""What the options set for all methods alike."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "invert", help="turn pictures into latents and back", description=__doc__, epilog=EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_option = parser.add_argument
    add_option("--images", type=Path, metavar="FOLDER", help="folder of pictures, or one picture")
    add_option("--seeds", default="", help="the model's own samples of these seeds, unclamped, instead of pictures: 1,2,3")
    add_option("--count", type=int, default=16, help="pictures taken of the folder at most, 1 to 64 (default 16)")
    add_option("--steps", default="10,20,50,100,200", help="step counts (default %(default)s)")
    add_option("--methods", default="", help=f"of {', '.join(METHODS)} (default all)")
    add_option("--model", default="avatars-32", help="model of the way up (default %(default)s)")
    add_option("--decode-model", help="another model for the way down")
    add_option("--spacing", default="trailing", choices=SPACINGS, help="timestep spacing (default %(default)s)")
    add_option("--strength", type=float, default=1.0, help="part of the way up that is gone, above 0 (default 1)")
    add_option("--eta", type=float, help="of the way down (default 0; of the stochastic methods 1)")
    add_option("--decode-steps", type=int, help="steps of the way down (default: as many as up)")
    add_option("--evaluations", type=int, help="of the fixed-point method's way up (default: 4 for each step)")
    add_option("--tolerance", type=float, default=0.0, help="residual at which a fixed-point step ends (default 0)")
    add_option("--noise-seed", type=int, default=0, help="names the noise of the stochastic methods (default 0)")
    add_option("--clamped", action="store_true", help="clamp the samples of --seeds to [-1, 1] before they are inverted")
    add_option("--class-label", help="of a model with classes (default: for --seeds by the seed, for pictures the null class)")
    add_option("--precision", default="fp32", choices=PRECISIONS, help="(default %(default)s)")
    add_option("--output", type=Path, default=Path("inversion"), help="folder of the files (default %(default)s)")
    add_option("--latents", action="store_true", help="also save every latent")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> None:
    from ddim_app.runs import latent_files
    from ddim_app.studies import inversion_table

    engine = local_engine(*filter(None, (arguments.model, arguments.decode_model)))
    given, output = vars(arguments), arguments.output
    steps, methods = inversion_table.parse_steps(arguments.steps), inversion_table.parse_methods(arguments.methods)
    common = InversionArm(**{name: given[name] for name in COMMON})
    recipe = InvertRecipe(
        sources=tuple(_sources(arguments, engine)), arms=(common,),
        **{name: given[name] for name in ("model", "decode_model", "clamped", "noise_seed", "precision", "class_label")},
    )  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    print(f"{len(recipe.sources)} pictures · {arguments.model} · {arguments.spacing} · {arguments.precision}")
    print(inversion_table.HEADER)
    about: dict[str, Any] = {
        "model": arguments.model, "weights": engine.model(arguments.model).sha256, "decode_model": arguments.decode_model,
        "pictures": len(recipe.sources), "precision": arguments.precision, "common": asdict(common),
    }  # fmt: skip
    lines, began = [], time.perf_counter()
    for arm, result in inversion_table.curve(engine, recipe, steps, methods):
        lines.append(inversion_table.line(arm, result))
        print(inversion_table.row(lines[-1]), flush=True)
        if arguments.latents:
            write_file(output / f"{arm.method}-{arm.steps}{SUFFIX}", latent_files.save(result.latent))
        # After every line, so that a run that is broken off leaves what it has found.
        table = {**about, "lines": [asdict(line) for line in lines], "ddim_table_2": inversion_table.TABLE_2}
        write_json(output / "inversion.json", table)
        write_file(output / "inversion.svg", inversion_table.svg(lines).encode())
    print(f"{time.perf_counter() - began:.0f} s · {output / 'inversion.json'} · {output / 'inversion.svg'}")


def _sources(arguments: argparse.Namespace, engine: Any) -> list[Source]:
    if bool(arguments.seeds) == bool(arguments.images):
        raise FieldError("images", "must be given, or else seeds: one of the two")
    if not 1 <= arguments.count <= 64:
        raise FieldError("count", f"must be from 1 to 64; got {arguments.count}")
    if arguments.seeds:
        words = arguments.seeds.replace(",", " ").split()
        if not all(word.isdecimal() for word in words):
            raise FieldError("seeds", f"must be whole numbers such as 1, 2, 3; got {arguments.seeds[:60]!r}")
        return [Source(seed=int(word)) for word in words]
    return [of_image(image, engine.model(arguments.model).shape) for image in _pictures(arguments.images, arguments.count)]


def _pictures(folder: Path, count: int) -> list[Any]:
    """The first pictures of a folder by name; those that cannot be used are named and left out."""
    if not folder.exists():
        raise FieldError("images", f"must be a folder of pictures, or one; there is no {folder}")
    paths = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    opened: list[Any] = []
    for path in paths:
        try:
            opened.append(open_picture(path, at_least=1024))
        except ValueError as error:
            print(f"{path.name} is left out: {error}")
        if len(opened) == count:
            break
    if not opened:
        raise FieldError("images", f"must be or hold a picture ({', '.join(formats())}); {folder} has none that can be used")
    return opened
