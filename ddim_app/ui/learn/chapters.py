"""The chapters of the Learn tab: what each says, asks and links to, and the contents beside them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import gradio as gr

from ddim_app.diffusion import formulas
from ddim_app.diffusion.schedule import Schedule, betas, cumulative
from ddim_app.studies.point_worlds import round_trip
from ddim_app.ui.assets import component_files
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.inversion_panel import WAYS, away
from ddim_app.ui.learn.inversion_panel import WORLD as CLOUDS

FIRST = 5
"""Chapters of the story; the others go deeper."""
WORLD = "world"
"""Name of the chapter that is no panel: the world of two numbers."""


@dataclass(frozen=True)
class Chapter:
    """A chapter; `slug` is what a link to it ends with."""

    slug: str
    name: str
    """Of its panel."""
    title: str
    lead: str
    question: str
    options: tuple[str, ...]
    right: str
    answer: str
    link: str
    """A chip of Compare, or the name of a tab."""


@cache
def chapters() -> tuple[Chapter, ...]:
    """All of them, in the order of the page."""
    numbers = {name: f"{value:.3g}" for name, value in known_numbers().items()}
    parts = []
    for part in figures.words("chapters").split("\n## ")[1:]:
        head, lead, question, options, answer, link = (line.strip() for line in part.strip().split("\n") if line.strip())
        slug, name, title = head.split(", ", 2)
        choices = [option.strip() for option in options.split("|")]
        right = next((option[1:] for option in choices if option.startswith("*")), "")
        plain = tuple(option.removeprefix("*") for option in choices if option != "-")
        question, answer, link = ("" if words == "-" else words for words in (question, answer, link))
        parts.append(Chapter(slug, name, title, lead, question, plain, right, figures.filled(answer, **numbers), link))
    return tuple(parts)


def known_numbers() -> dict[str, float]:
    """The numbers in answers."""
    schedule = Schedule(cumulative(betas()))
    even = min(range(1000), key=lambda t: abs(schedule.snr[t] - 1))
    (one5, hat5), (one100, hat100) = (first_noises(schedule, steps) for steps in (5, 100))
    ways = [away(round_trip(CLOUDS, 10, evaluations)) for evaluations in WAYS.values()]
    return {"even": even, "hat5": hat5, "one5": one5, "hat100": hat100, "one100": one100, "back": ways[0], "fixed": ways[1]}


def first_noises(schedule: Schedule, steps: int) -> tuple[float, float]:
    """(sigma(1), sigma-hat) of the last step that adds noise."""
    cur, nxt = schedule.levels(steps)[-3:-1]
    return formulas.ddim_sigma(cur.alpha_bar, nxt.alpha_bar, 1.0), formulas.sigma_hat(cur.alpha_bar, nxt.alpha_bar)


def contents() -> gr.HTML:
    """The list at the left. Its script says which chapter is in sight, and asks for what is not filled yet."""
    listed = [{"slug": one.slug, "name": one.name, "title": one.title} for one in chapters()]
    return gr.HTML(
        {"chapters": listed, "first": FIRST, "filled": figures.stored_panels()}, **component_files("contents"),
        apply_default_css=False, elem_id="contents",
    )  # fmt: skip


def head(chapter: Chapter) -> None:
    """Title, lead and the question to guess first."""
    number = chapters().index(chapter) + 1
    kicker = f"Chapter {number} of {FIRST}" if number <= FIRST else "Go deeper"
    _block(chapter, "chapter", kicker=kicker, lead=chapter.lead, question=chapter.question, options=chapter.options,
           right=chapter.right, answer=chapter.answer)  # fmt: skip


def foot(chapter: Chapter) -> None:
    """The ways on: the chapters beside it, and Compare with the settings set."""
    number, every = chapters().index(chapter), chapters()
    before, after = (
        {"slug": every[i].slug, "title": f"{i + 1} {every[i].title}" if i < FIRST else every[i].title}
        if 0 <= i < len(every)
        else None
        for i in (number - 1, number + 1)
    )
    _block(chapter, "onward", before=before, after=after, link=chapter.link)


def _block(chapter: Chapter, files: str, **told: Any) -> None:
    gr.HTML(
        {"name": chapter.name, "title": chapter.title, **told}, **component_files(files), apply_default_css=False,
        elem_id=f"{files}-{chapter.name}",
    )  # fmt: skip
