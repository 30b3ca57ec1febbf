"""The guided tour: six stops, each with a question that one slider answers."""

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr

from ddim_app.diffusion import formulas
from ddim_app.diffusion.schedule import Schedule, betas, cumulative
from ddim_app.ui.learn import figures


@dataclass(frozen=True)
class TourStop:
    """A stop of the tour."""

    title: str
    panel: str
    """Name of the panel that it is about."""
    slider: str
    question: str
    answer: str


def stops() -> list[TourStop]:
    """The six of them; numbers in answers are those of DDPM's linear schedule, which the bundled model has."""
    schedule = Schedule(cumulative(betas()))
    even = min(range(1000), key=lambda t: abs(schedule.snr[t] - 1))
    ratios = {steps: first_noises(schedule, steps) for steps in (5, 100)}
    numbers = {"even": even, "hat5": ratios[5][1], "one5": ratios[5][0], "hat100": ratios[100][1], "one100": ratios[100][0]}
    parts = []
    for part in figures.words("tour").split("\n## ")[1:]:
        title, panel, slider, question, answer = (line.strip() for line in part.strip().split("\n") if line.strip())
        parts.append(TourStop(title, panel, slider, question, figures.filled(answer, **numbers)))
    return parts


def first_noises(schedule: Schedule, steps: int) -> tuple[float, float]:
    """(sigma(1), sigma-hat) of the last step that adds noise."""
    cur, nxt = schedule.levels(steps)[-3:-1]
    return formulas.ddim_sigma(cur.alpha_bar, nxt.alpha_bar, 1.0), formulas.sigma_hat(cur.alpha_bar, nxt.alpha_bar)


def build(titles: Mapping[str, str]) -> list[tuple[str, gr.Button]]:
    """The tour's components; returns the button of each stop with the panel that it opens. `titles` are those of the panels."""
    opens = []
    figures.formula(
        "Six stops. Each has a question that **one slider** answers. Open the panel, move the slider, come back and compare."
    )
    places = stops()
    with gr.Walkthrough(selected=0, elem_id="tour") as walk:
        for i, stop in enumerate(places):
            with gr.Step(titles[stop.panel], id=i):
                figures.formula(f"### {i + 1}. {stop.title}\n\n{stop.question}\n\n*The slider:* **{stop.slider}**.")
                with gr.Row():
                    opens.append(
                        (stop.panel, gr.Button("Open the panel", variant="primary", size="sm", elem_id=f"open-{stop.panel}"))
                    )
                    following = gr.Button("Next stop" if i < len(places) - 1 else "From the start", size="sm", elem_id=f"next-{i}")
                with gr.Accordion("Answer", open=False, elem_id=f"answer-{i}"):
                    figures.formula(stop.answer)
                goal = (i + 1) % len(places)
                following.click(
                    lambda goal=goal: gr.Walkthrough(selected=goal),
                    None,
                    walk,
                    queue=False,
                    show_progress="hidden",
                    api_visibility="private",
                )
    with gr.Accordion("Symbols", open=False, elem_id="symbols"):
        figures.formula(figures.words("symbols"))
    return opens
