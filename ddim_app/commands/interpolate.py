"""`python -m ddim_app interpolate`: pictures between pictures, as a sheet, films and latent files."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddim_app.commands.engines import local_engine
from ddim_app.diffusion.formulas import CLIP_RULES
from ddim_app.diffusion.latent_paths import WAYS
from ddim_app.diffusion.sampler import VARIANCES
from ddim_app.diffusion.schedule import SPACINGS
from ddim_app.errors import FieldError
from ddim_app.media.files import write_file
from ddim_app.runs import forms, path_files
from ddim_app.runs.interpolation import MAX_FRAMES, NOISES
from ddim_app.runs.mixing import Q_NOISES

EPILOG = """\
examples:
  python -m ddim_app interpolate --seeds 7,8 --frames 9 --method all
  python -m ddim_app interpolate --mode grid --seeds 1,2,3,4 --rows 5 --columns 5
  python -m ddim_app interpolate --mode loop --seeds 1,2,3,4 --frames 48 --files gif mp4
  python -m ddim_app interpolate --mode mix --end a.png --end b.png --table --steps 50 --ddpm-steps 1000
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "interpolate", help="draw pictures between pictures", description=__doc__, epilog=EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip

    def option(name: str, default: Any, words: str, **more: Any) -> None:
        parser.add_argument(f"--{name}", default=default, help=f"{words} (default: {default})" if default != "" else words, **more)

    option("mode", "line", "a path of latents, or mix for DDPM's way", choices=forms.ALL_MODES)
    option("seeds", "", "ends, such as 7,8; those that are missing count up")
    parser.add_argument("--end", action="append", default=[], type=Path, metavar="FILE",
                        help="a latent file or a picture in place of the first seed, the next of the second")  # fmt: skip
    option("method", "ddim", "both: DDIM and DDPM; all: DDPM with each kind of step noise", choices=forms.METHODS)
    option("noise", "slerp", "step noise from frame to frame: moved along, one for all, or fresh", choices=NOISES)
    option("way", "slerp", "great circle, straight line, or straight line with its norm restored", choices=tuple(WAYS))
    option("frames", 9, f"frames of a line, loop or mix, 2 to {MAX_FRAMES}", type=int)
    option("rows", 5, "of a grid, 2 to 11", type=int)
    option("columns", 5, "of a grid, 2 to 11", type=int)
    option("start", 0.0, "where a line begins: below 0 is beyond the first end", type=float)
    option("stop", 1.0, "where it ends", type=float)
    option("strength", 0.25, "of variations, 0 to 1", type=float)
    option("level", 500, "forward steps of a mix, 0 to T", type=int)
    parser.add_argument("--table", action="store_true", help="mixes of nine levels, as in the DDPM paper's Fig. 9")
    option("q-noise", "independent", "noise of the two ends of a mix", choices=Q_NOISES)
    option("model", "avatars-32", "a model of weights/ or runs/, or an id on the Hugging Face Hub")
    option("steps", 25, "network evaluations per picture", type=int)
    option("ddpm-steps", 0, "DDPM's own steps, 0: the same; of a mix, its steps over all T", type=int)
    option("eta", 0.0, "DDIM's stochasticity, 0 to 2", type=float)
    option("seed", 7, "the first end, without --seeds", type=int)
    option("spacing", "trailing", "timestep spacing", choices=SPACINGS)
    option("variance", "small", "DDPM's", choices=VARIANCES)
    option("clip", "clip", "what is done to the predicted picture", choices=CLIP_RULES)
    option("output", Path("interpolation"), "folder of the files", type=Path, metavar="DIR")
    parser.add_argument("--files", nargs="+", default=["sheet", "gif"], choices=path_files.KINDS,
                        help="what is written (default: sheet gif)")  # fmt: skip
    _add_rarer(option)
    parser.set_defaults(run=run, parser=parser)


def _add_rarer(option: Callable[..., None]) -> None:
    """Options that are seldom given."""
    option("precision", "fast", "fast, fp32 or fp64")
    option("noise-seed", "", "names the step noise (default: follows the ends)")
    option("branch", 0, "another step noise", type=int)
    option("class-label", "", "a class of a model that has some, by its name or number, or none (default: by the first seed)")
    option("guidance", 1.0, "of a class: 1 is the class alone, 0 none; above 1 two evaluations a step", type=float)


def run(arguments: argparse.Namespace) -> None:
    engine = local_engine(arguments.model)
    model = engine.model(arguments.model)
    files = [_read(path) for path in arguments.end]
    recipe = forms.interpolation(vars(arguments), files, model.schedule.num_train_timesteps, model.shape)
    arguments.output.mkdir(parents=True, exist_ok=True)
    run = engine.run(recipe)
    collected, made = run.result, run.recipe
    for line in path_files.report(collected):
        print(line)
    for kind in dict.fromkeys(arguments.files):
        path = arguments.output / path_files.file_name(kind, made)
        try:
            data = path_files.file_of(kind, made, collected)
        except (ValueError, RuntimeError) as error:
            raise FieldError("files", f"cannot have {kind}: {error}") from error
        write_file(path, data)
        print(f"wrote {path}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FieldError("end", f"cannot be read: {error.strerror or error}") from error
