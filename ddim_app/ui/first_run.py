"""Makes the stored run that the first screen shows: `python -m ddim_app.ui.first_run`."""

import json

from ddim_app.engine import Engine
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui.assets import FOLDER
from ddim_app.ui.components.stage import StageFrames
from ddim_app.ui.text import recipe_line

RECIPE = Recipe(arms=(Arm(method="ddim", steps=10), Arm(method="ddpm", steps=10)), seed=7, pictures=4, precision="fp32")


def make() -> dict[str, object]:
    """The stage's value of the recipe, run on the bundled model."""
    engine = Engine()
    plan = engine.plan(RECIPE)
    reel = StageFrames(plan, "stored")
    reel.add(list(engine.run(RECIPE)))
    hint = "A stored run of the bundled model; replay it, or press Run for your own."
    said = {"recipe": recipe_line(plan), "hint": hint, "weights": plan.model.sha256}
    return {**reel.complete(RECIPE.made({RECIPE.model: plan.model.sha256})), **said, "curves": reel.curves()}


if __name__ == "__main__":
    path = FOLDER / "first_run.json"
    path.write_text(json.dumps(make(), separators=(",", ":")) + "\n", "utf-8")
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
