"""The words of the page: status, cost and recipe in a line each, shown as text and never as markup."""

import gradio as gr

from ddim_app.diffusion.noise import picture_seed
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.inversion import InvertRecipe
from ddim_app.runs.mixing import MixRecipe
from ddim_app.runs.sampling import Recipe, SamplingPlan
from ddim_app.ui.assets import asset, component_files

DOWNLOADED = "This model is downloaded when you run it."
LOADED = "This model is loaded when you run it."
"""What takes the place of a run's cost while nothing of its model is known."""
FROM_STORE = "Done · stored, fp32: no evaluation was made"
CLIP_WORDS = {"clip": "x₀ clipped", "off": "x₀ not clipped", "dynamic": "x₀ thresholded"}

SHOW_TEXT = """
const place = element.querySelector('p');
const show = () => { place.textContent = props.value || ''; };
watch('value', show);
show();
"""


def line(text: str, elem_id: str, *, live: bool = False) -> gr.HTML:
    """A component that shows its value as plain text; a `live` one is read out by screen readers as it changes."""
    template = '<p role="status" aria-live="polite"></p>' if live else "<p></p>"
    css = "p { margin: 0; white-space: pre-line; }"
    return gr.HTML(
        text, html_template=template, css_template=css, js_on_load=SHOW_TEXT, apply_default_css=False, elem_id=elem_id,
        elem_classes="line",
    )  # fmt: skip


def cost(elem_id: str) -> gr.HTML:
    """What a run takes, as `RunTab.cost_line` says it."""
    return gr.HTML(
        "", html_template="<p></p>", css_template="p { margin: 0; }", js_on_load=asset("components/cost.js"),
        apply_default_css=False, elem_id=elem_id, elem_classes=["line", "cost"],
    )  # fmt: skip


def status(tab: str, elem_id: str) -> gr.HTML:
    """What a tab's run is doing: words, or what `run_tab.busy` makes of them."""
    return gr.HTML("", **component_files("status"), apply_default_css=False, elem_id=elem_id, elem_classes=["line"], tab=tab)


def grid_note(steps: int, spacing: str) -> str:
    return f"{steps} {'step' if steps == 1 else 'steps'}, {spacing}"


def replay_note(stride: int, shrink: int) -> str:
    """What the replay of a long run or of large pictures leaves out; "" when nothing."""
    ordinal = {2: "2nd", 3: "3rd"}.get(stride, f"{stride}th")
    thinned = f"A long run: the replay has every {ordinal} step, the first and the last." if stride > 1 else ""
    smaller = f"Pictures on the way are kept at 1/{shrink} of their size, the last ones whole." if shrink > 1 else ""
    return f"{thinned} {smaller}".strip()


def recipe_line(plan: SamplingPlan) -> str:
    """The run in one line."""
    recipe = plan.recipe
    arms = " | ".join(
        f"{arm.label}, {grid_note(row.transitions, arm.spacing)}" for arm, row in zip(recipe.arms, plan.rows, strict=True)
    )
    return f"{recipe.model} · {arms} · {seeds(recipe)} · {CLIP_WORDS[recipe.arms[0].clip]} · {recipe.precision}"


def run_line(plan: Plan) -> str:
    """Any run in one line: of many arms only how many."""
    recipe = plan.recipe
    if isinstance(plan, SamplingPlan) and len(recipe.arms) < 4:
        return recipe_line(plan)
    words = f"{len(recipe.arms)} arms · {seeds(recipe)}" if isinstance(recipe, Recipe) else kind_words(recipe)
    return f"{recipe.model} · {words}"


def kind_words(recipe: BaseRecipe) -> str:
    """What a run that is not of samplers alone is about: its way, and its steps or the ends between which it goes."""
    if isinstance(recipe, InvertRecipe):
        arm, source = recipe.arms[0], recipe.sources[0]
        return f"{arm.method}, {grid_note(arm.steps, arm.spacing).removesuffix(', trailing')}" + (
            "" if source.seed is None else f", seed {source.seed}"
        )
    if isinstance(recipe, PathRecipe | MixRecipe):
        way = recipe.mode if isinstance(recipe, PathRecipe) else "mix"
        return f"{way} {', '.join('picture' if end.seed is None else str(end.seed) for end in recipe.ends)}"
    return "latent drawn"


def seeds(recipe: Recipe) -> str:
    """Which pictures: their seeds, the step noise where it does not follow them, and their class where one is named."""
    last = picture_seed(recipe.seed, recipe.pictures - 1)
    named = f"seed {recipe.seed}" if recipe.pictures == 1 else f"seeds {recipe.seed} to {last}"
    noise = "" if recipe.noise_seed is None else f" · noise seed {recipe.noise_seed}"
    label = f" · class {recipe.class_label}" if recipe.class_label else ""
    return named + noise + (f" · branch {recipe.branch}" if recipe.branch else "") + label


def entry_line(plan: SamplingPlan) -> str:
    """The level at which x_T enters the chain, of each arm where they differ, and whether noise had to be capped."""
    entries = dict.fromkeys(f"t = {row.levels[0].t}, where √ᾱ = {row.levels[0].alpha_bar ** 0.5:.4f}" for row in plan.rows)
    capped = " · η is capped where the noise would exceed the level's" if any(row.is_capped for row in plan.rows) else ""
    return f"x_T enters at {'; '.join(entries)}{capped}"


def cost_line(
    plan: Plan, calls: int, seconds: float | None, beside: int = 0, gpu: int | None = None, where: str = "in the background"
) -> str:
    """What a run takes, before it starts, and how many evaluations Live adds; the lines after the first are for those who ask.

    `gpu` are the seconds of a lent GPU that it asks for.
    """
    about = "" if seconds is None else f", about {max(seconds, 0.1):.1f} s"
    entry = f"\n{entry_line(plan)}" if isinstance(plan, SamplingPlan) else ""
    behind = f" (+{beside:,} {where})" if beside else ""
    lent = "" if gpu is None else f", asks for {gpu} s of GPU"
    return f"{plan.evaluations:,} evaluations{about}{lent}{behind}\nin {calls} UNet {'call' if calls == 1 else 'calls'}{entry}"


def first_step_line(plan: Plan) -> str:
    """What is said between a model's arrival and its first step."""
    return f"{plan.model.name} is loaded: what fits into memory is measured once, then the first of {plan.transitions} steps"


def progress_line(plan: Plan, done: int, seconds: float) -> str:
    """Step, evaluations, speed and time left after `done` steps."""
    each = seconds / max(done, 1)
    left = each * (plan.transitions - done)
    return (
        f"Step {done} of {plan.transitions} · {plan.evaluated(done)} evaluations · {1000 * each:.0f} ms a step · {left:.1f} s left"
    )


def done_line(plan: Plan, seconds: float, number_format: str) -> str:
    """What a finished run took."""
    nfe = " and ".join(map(str, plan.nfe)) if len(plan.nfe) < 3 else ", ".join(map(str, plan.nfe))
    each = 1000 * seconds / max(plan.transitions, 1)
    return f"Done in {seconds:.1f} s · {nfe} NFE per picture · {each:.0f} ms a step · {number_format}"
