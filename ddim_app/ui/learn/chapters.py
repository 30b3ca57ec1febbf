"""The chapters of the Learn tab: what each says, asks and links to, and the contents beside them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import gradio as gr

from ddim_app.ui.assets import component_files
from ddim_app.ui.learn import figures

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
    parts = []
    for part in figures.words("chapters").split("\n## ")[1:]:
        head, lead, question, options, answer, link = (line.strip() for line in part.strip().split("\n") if line.strip())
        slug, name, title = head.split(", ", 2)
        choices = [option.strip() for option in options.split("|")]
        right = next((option[1:] for option in choices if option.startswith("*")), "")
        plain = tuple(option.removeprefix("*") for option in choices if option != "-")
        question, answer, link = ("" if words == "-" else words for words in (question, answer, link))
        answer = figures.filled(answer, **figures.stored()["numbers"])
        parts.append(Chapter(slug, name, title, lead, question, plain, right, answer, link))
    return tuple(parts)


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
