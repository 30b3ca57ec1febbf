"""A page that was opened by a link: on which tab it stands, and whether its run begins at once."""

import json
from collections.abc import Sequence

from ddim_app.errors import FieldError
from ddim_app.runs.base import BaseRecipe
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import RunTab


def opening(runs: PageRuns, tabs: Sequence[RunTab], recipe: BaseRecipe, tab: RunTab | None, can_run_exactly: bool) -> str:
    """What the page's script is told, as JSON: `tab`, and the id of the button to `press`, none where the run waits for Run.

    `tab` is the one whose fields say the recipe; where none does, Compare may run it as it is. The server itself runs nothing for
    an address: whoever only fetches the page, to show a preview of it say, costs no evaluation.
    """
    if tab is None and not can_run_exactly:
        return ""
    button = "run-exactly" if tab is None else "run" if tab is tabs[0] else f"run-{tab.name}"
    press = button if may_begin(runs, recipe) else None
    return json.dumps({"tab": (tab or tabs[0]).name, "press": press})


def may_begin(runs: PageRuns, recipe: BaseRecipe) -> bool:
    """Whether a run begins as soon as its link is opened: models that are here, unasked, within the host's budget for links."""
    if not runs.makes_unasked or not all(map(runs.engine.is_here, recipe.models)):
        return False
    most = runs.engine.budget.max_link_evaluations
    try:
        return most is None or int(runs.engine.plan(recipe).evaluations) <= most
    except FieldError:  # said when it is run
        return False
