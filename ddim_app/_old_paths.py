"""Import paths of before the packages, which copied snippets still use: they work for one more version, with a warning.

`import ddim_app` puts one finder in place. It knows the table below and nothing else; to drop the old paths, delete this file and
the line that calls `install`.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

OLD_PATHS: dict[str, tuple[str, ...]] = {
    "animation": ("media.animation",),
    "axes": ("runs.axes",),
    "bound_table": ("studies.bound_table",),
    "buckets": ("diffusion.batch_sizes",),
    "codecs": ("runs.codecs", "media.images"),
    "coding": ("diffusion.elbo",),
    "ddim": ("diffusion.formulas",),
    "designs": ("diffusion.term_sampling",),
    "diagnosis": ("diffusion.gaussianity",),
    "ends": ("runs.forms",),
    "exact": ("diffusion.exact_inversion",),
    "fixed_point": ("diffusion.fixed_point_inversion",),
    "forward": ("diffusion.forward",),
    "images": ("media.images",),
    "interpolate": ("runs.interpolation",),
    "interpolate_plan": ("runs.interpolation_plan", "runs.path_frames"),
    "inversion": ("diffusion.naive_inversion",),
    "invert": ("runs.inversion",),
    "invert_plan": ("runs.inversion_plan", "runs.inversion_routes"),
    "latent_files": ("runs.latent_files",),
    "latents": ("diffusion.noise",),
    "lessons": ("runs.lessons",),
    "likelihood": ("runs.likelihood",),
    "loop": ("engine.batch_loop", "engine.tickets"),
    "metrics": ("diffusion.metrics",),
    "mixing": ("runs.mixing", "runs.path_frames"),
    "model": (
        "models.loading",
        "models.scheduler_config",
        "models.catalogue",
        "models.hub",
        "models.model_files",
        "models.names",
    ),
    "pairs": ("runs.key_values",),
    "paths": ("diffusion.latent_paths",),
    "plan": ("runs.kinds", "runs.base", "runs.sampling"),
    "recipe": ("errors", "runs.sampling", "runs.base", "runs.forms", "runs.kinds"),
    "regenerate": ("runs.decoding",),
    "roundtrip": ("studies.inversion_table",),
    "sample": ("diffusion.sampler",),
    "schedule": ("diffusion.schedule",),
    "smoothness": ("diffusion.metrics",),
    "snippets": ("runs.snippets",),
    "source": ("runs.sources",),
    "strips": ("runs.path_files", "runs.path_frames"),
    "zero": ("engine.zero_gpu",),
}
"""The modules in which the names of each old module are looked for, one after the other."""
OLD_NAMES = {
    ("interpolate_plan", "Cells"): "FramesStep",
    ("interpolate_plan", "Inverted"): "EndInversionStep",
    ("interpolate_plan", "Laid"): "PathStart",
    ("interpolate_plan", "Result"): "CollectedFrames",
    ("invert", "Way"): "InversionArm",
    ("invert_plan", "Going"): "InversionStep",
    ("invert_plan", "Inverted"): "InversionResult",
    ("invert_plan", "Route"): "InversionRoute",
    ("invert_plan", "route"): "route_of",
    ("latents", "NoisePath"): "BrownianPath",
    ("lessons", "Move"): "LessonStep",
    ("lessons", "Sight"): "LookResult",
    ("likelihood", "Collector"): "TermCollector",
    ("likelihood", "Terms"): "TermBatch",
    ("loop", "Network"): "Evaluator",
    ("mixing", "Drawn"): "MixSourceStep",
    ("mixing", "Noised"): "MixStart",
    ("strips", "Gathered"): "CollectedFrames",
}
"""What names of an old module are called now, where that has changed."""


class MovedModule(ModuleType):
    """Stands in for a module that has moved: its names are looked up where they are now."""

    def __getattr__(self, attribute: str) -> Any:
        name = self.__name__.partition(".")[2]
        for home in OLD_PATHS[name]:
            found = import_module(f"ddim_app.{home}")
            if hasattr(found, now := OLD_NAMES.get((name, attribute), attribute)):
                return getattr(found, now)
        raise AttributeError(f"module {self.__name__!r} has no attribute {attribute!r}")

    def __call__(self, *values: Any, **named: Any) -> Any:
        """What the front door has under the name of this module: the import of a module hides it there."""
        front_door = import_module("ddim_app").__getattr__
        return front_door(self.__name__.partition(".")[2])(*values, **named)


class OldPaths(MetaPathFinder, Loader):
    """Finds `ddim_app.OLD` for the modules of the table, and puts a MovedModule in its place."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == "ddim_app" and name in OLD_PATHS else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return MovedModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        homes = " and ".join(f"ddim_app.{home}" for home in OLD_PATHS[module.__name__.partition(".")[2]])
        words = f"{module.__name__} is now {homes}; the old path goes with the next version"
        warnings.warn(words, DeprecationWarning, stacklevel=2)


def install() -> None:
    """Puts the finder behind all others, so that it is asked for nothing that exists."""
    if not any(isinstance(finder, OldPaths) for finder in sys.meta_path):
        sys.meta_path.append(OldPaths())
