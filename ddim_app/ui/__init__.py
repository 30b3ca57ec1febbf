"""The page: the only part, with app.py, that knows gradio."""

from ddim_app.ui.page import build_ui, launch_options

__all__ = ["build_ui", "launch_options"]
