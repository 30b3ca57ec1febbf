"""The words of the page: status, cost and recipe in a line each, shown as text and never as markup."""

import gradio as gr

from ddim_app.diffusion.noise import picture_seed
from ddim_app.runs.base import Plan
from ddim_app.runs.sampling import Recipe, SamplingPlan

DOWNLOADED = "This model is downloaded when you run it."
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


def seeds(recipe: Recipe) -> str:
    """Which pictures: their seeds, and the step noise where it does not follow them."""
    last = picture_seed(recipe.seed, recipe.pictures - 1)
    named = f"seed {recipe.seed}" if recipe.pictures == 1 else f"seeds {recipe.seed} to {last}"
    noise = "" if recipe.noise_seed is None else f" · noise seed {recipe.noise_seed}"
    return named + noise + (f" · branch {recipe.branch}" if recipe.branch else "")


def entry_line(plan: SamplingPlan) -> str:
    """The level at which x_T enters the chain, of each arm where they differ, and whether noise had to be capped."""
    entries = dict.fromkeys(f"t = {row.levels[0].t}, where √ᾱ = {row.levels[0].alpha_bar ** 0.5:.4f}" for row in plan.rows)
    capped = " · eta is capped where the noise would exceed the level's" if any(row.is_capped for row in plan.rows) else ""
    return f"x_T enters at {'; '.join(entries)}{capped}"


def sampling_cost_line(plan: SamplingPlan, calls: int, seconds: float | None) -> str:
    """What a run of arms takes, before it starts, and where their noise enters."""
    pictures = plan.recipe.pictures * len(plan.rows)
    return f"{pictures} pictures · {cost_line(plan, calls, seconds)}\n{entry_line(plan)}"


def cost_line(plan: Plan, calls: int, seconds: float | None) -> str:
    """What a run takes, before it starts."""
    about = "" if seconds is None else f" · about {max(seconds, 0.1):.1f} s"
    return f"{plan.evaluations} evaluations in {calls} UNet calls{about}"


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
