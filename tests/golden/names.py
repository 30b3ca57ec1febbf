"""What the goldens use of the package, whatever its modules are called in the commit that is measured."""

from importlib import import_module
from typing import Any


def _first(names: str, *modules: str) -> Any:
    """What goes by one of these names, `new old`, in the first of these modules that exists."""
    for module in modules:
        try:
            found = import_module(f"ddim_app.{module}")
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("ddim_app"):
                raise
            continue
        for name in names.split():
            if hasattr(found, name):
                return getattr(found, name)
    raise ImportError(f"no module has {names}: tried {', '.join(modules)}")


Engine = _first("Engine", "engine")
from_json = _first("from_json", "runs.kinds", "runs.base", "recipe")
to_query = _first("to_query", "runs.key_values", "pairs")
snippets = _first("python", "runs.snippets", "snippets").__globals__
initial_noise = _first("initial_noise", "diffusion.noise", "latents")
keyed_noise = _first("keyed_noise", "diffusion.noise", "latents")
noise_key = _first("noise_key", "diffusion.noise", "latents")
BrownianPath = _first("BrownianPath NoisePath", "diffusion.noise", "latents")
Schedule = _first("Schedule", "diffusion.schedule", "schedule")
betas = _first("betas", "diffusion.schedule", "schedule")
cumulative = _first("cumulative", "diffusion.schedule", "schedule")
