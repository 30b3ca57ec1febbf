"""What the goldens use of the package, whatever its modules are called in the commit that is measured."""

from importlib import import_module
from typing import Any


def _first(name: str, *modules: str) -> Any:
    """The object `name` of the first of these modules that exists."""
    for module in modules:
        try:
            return getattr(import_module(f"ddim_app.{module}"), name)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("ddim_app"):
                raise
    raise ImportError(f"no module has {name}: tried {', '.join(modules)}")


Engine = _first("Engine", "engine")
from_json = _first("from_json", "recipe")
to_query = _first("to_query", "pairs")
read_query = _first("read_query", "codecs")
to_pixels = _first("to_pixels", "images")
snippets = _first("python", "snippets").__globals__
initial_noise = _first("initial_noise", "latents")
keyed_noise = _first("keyed_noise", "latents")
noise_key = _first("noise_key", "latents")
NoisePath = _first("NoisePath", "latents")
Schedule = _first("Schedule", "schedule")
betas = _first("betas", "schedule")
cumulative = _first("cumulative", "schedule")
