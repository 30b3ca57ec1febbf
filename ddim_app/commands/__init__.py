"""The commands of `python -m ddim_app`, a module each, which adds its parser by `add(commands)`."""
