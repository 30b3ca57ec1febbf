"""Makes all that is stored: `python -m ddim_app.ui.first_run`.

That is the run and the set that the first screen shows, and what Interpolate, Invert and Learn's chapters begin with.
"""

import json

from ddim_app.engine import Engine
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import stored_sets
from ddim_app.ui.assets import FOLDER
from ddim_app.ui.components.stage import StageFrames
from ddim_app.ui.interpolate import stored_path
from ddim_app.ui.invert import stored_trip
from ddim_app.ui.learn import stored_chapters, world_card
from ddim_app.ui.text import recipe_line

RECIPE = Recipe(arms=(Arm(method="ddim", steps=10), Arm(method="ddpm", steps=10)), seed=7, pictures=4, precision="fp32")


def make() -> dict[str, object]:
    """The stage's value of the recipe, run on the bundled model."""
    engine = Engine()
    plan = engine.plan(RECIPE)
    reel = StageFrames(plan, "stored")
    reel.add(list(engine.run(RECIPE)))
    hint = "A stored run of the bundled model; move a setting for your own."
    said = {"recipe": recipe_line(plan), "hint": hint, "weights": plan.model.sha256}
    return {**reel.complete(RECIPE.made({RECIPE.model: plan.model.sha256})), **said}


if __name__ == "__main__":
    engine = Engine(allow_hub=False)
    for file in stored_sets.make(engine, RECIPE.model).save(FOLDER / "stored", RECIPE.model):
        print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")
    made = {
        "first_run": make(),
        "stored/world": world_card.of_values(world_card.BEGIN),
        "stored/learn": stored_chapters.make(engine),
    }
    for name, content in made.items():
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(content, separators=(",", ":")) + "\n", "utf-8")
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    for file in (stored_path.save(engine), stored_trip.save(engine)):
        print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")
