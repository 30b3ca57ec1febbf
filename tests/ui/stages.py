"""Plans without a network, and their frames."""

from types import SimpleNamespace

from ddim_app.diffusion.schedule import Level
from ddim_app.runs.sampling import Arm, Frame, Recipe, SamplingPlan, arm_row
from tests.toys import LINEAR


def plan_of(*steps, pictures=2, side=8):
    """A plan without a network: an arm for each number of steps."""
    recipe = Recipe(arms=tuple(Arm(steps=count) for count in steps), pictures=pictures, seed=3)
    model = SimpleNamespace(shape=(3, side, side), schedule=LINEAR)
    return SamplingPlan(recipe, (model,), tuple(arm_row(arm, model) for arm in recipe.arms))


def frames_of(plan, picture):
    """All frames of the plan, `picture(k)` standing for x_t, pred_x0 and eps."""
    shape = (plan.recipe.pictures, *plan.model.shape)
    for k in range(plan.transitions):
        x = picture(k).expand(shape) if callable(picture) else picture
        for arm, row in enumerate(plan.rows):
            if k < row.transitions:
                yield Frame(arm, k, row.transitions, Level(row.levels[k].t, 0.5), 0.1, x, x, x, k)
