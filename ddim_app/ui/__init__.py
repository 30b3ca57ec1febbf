"""The page: the only part, with app.py, that knows gradio.

page, controls, theme    the page, its settings column, its looks and launch options
compare, matrix, interpolate, invert, learn    a folder for each tab: `tab`, `view`, `endpoint`
components          custom components: Python, template, style and script together
page_runs           runs streamed to pages; what Stop and a closed tab end
recipe_bar, run_history, run_films, share_texts    what is kept of runs, and handed out
hosting             what a server on the internet needs
"""

from ddim_app.ui.page import build_ui
from ddim_app.ui.theme import launch_options

__all__ = ["build_ui", "launch_options"]
