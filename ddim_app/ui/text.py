"""The words of the page: status, cost and recipe in a line each, shown as text and never as markup."""

import gradio as gr

from ddim_app.engine import Plan
from ddim_app.latents import picture_seed
from ddim_app.recipe import Recipe

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


def recipe_line(run: Recipe) -> str:
    """The run in one line."""
    arms = " | ".join(f"{arm.label}, {grid_note(arm.steps, arm.spacing)}" for arm in run.arms)
    seeds = f"seed {run.seed}" if run.pictures == 1 else f"seeds {run.seed} to {picture_seed(run.seed, run.pictures - 1)}"
    return f"{run.model} · {arms} · {seeds} · {CLIP_WORDS[run.arms[0].clip]} · {run.precision}"


def entry_line(plan: Plan) -> str:
    """Where x_T enters the chain, and whether noise had to be capped."""
    level = plan.rows[0].levels[0]
    capped = " · eta is capped where the noise would exceed the level's" if any(row.is_capped for row in plan.rows) else ""
    return f"x_T enters at t = {level.t}, where √ᾱ = {level.alpha_bar**0.5:.4f}{capped}"


def cost_line(plan: Plan, seconds: float | None) -> str:
    """What a run takes, before it starts."""
    pictures = plan.recipe.pictures * len(plan.rows)
    about = "" if seconds is None else f" · about {max(seconds, 0.1):.1f} s"
    calls = f"{plan.calls} UNet {'call' if plan.calls == 1 else 'calls'}"
    return f"{pictures} pictures · {plan.evaluations} evaluations in {calls}{about}\n{entry_line(plan)}"


def progress_line(plan: Plan, done: int, seconds: float) -> str:
    """Step, evaluations, speed and time left after `done` UNet calls."""
    each = seconds / max(done, 1)
    evaluated = plan.recipe.pictures * sum(min(done, row.transitions) for row in plan.rows)
    left = each * (plan.calls - done)
    return f"Step {done} of {plan.calls} · {evaluated} evaluations · {1000 * each:.0f} ms a step · {left:.1f} s left"


def done_line(plan: Plan, seconds: float, number_format: str) -> str:
    """What a finished run took."""
    counts = [row.transitions for row in plan.rows]
    nfe = str(counts[0]) if len(set(counts)) == 1 else " and ".join(map(str, counts))
    return f"Done in {seconds:.1f} s · {nfe} NFE per picture · {1000 * seconds / plan.calls:.0f} ms a step · {number_format}"
