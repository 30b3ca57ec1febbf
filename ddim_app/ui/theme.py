"""How the page is launched and how it looks: options of Gradio, colours, fonts."""

from typing import Any

import gradio as gr

from ddim_app.ui.assets import asset

VISITORS = 100
"""Pages whose last run is kept, those that came last; each run is bounded by stage.REPLAY_BYTES and stage.FINAL_BYTES."""


def launch_options() -> dict[str, Any]:
    """What a serious app sets: no telemetry, no open paths, no server-side rendering, uploads bounded."""
    return {
        "theme": _theme(),
        "css": asset("page.css"),
        "js": asset("page.js"),
        "footer_links": ["api", "settings"],
        "max_file_size": "10mb",
        "allowed_paths": [],
        "state_session_capacity": VISITORS,
        "enable_monitoring": False,
        "run_history": False,
        "ssr_mode": False,
        "pwa": False,
    }


def _theme() -> gr.themes.Base:
    font = ["Inter", "system-ui", "sans-serif"]
    theme = gr.themes.Default(primary_hue="teal", neutral_hue="gray", font=font, font_mono=["ui-monospace", "monospace"])
    return theme.set(
        body_background_fill="var(--page)",
        body_background_fill_dark="var(--page)",
        border_color_primary="var(--edge)",
        border_color_primary_dark="var(--edge)",
        button_primary_background_fill="#0f766e",
        button_primary_background_fill_hover="#115e59",
        button_primary_background_fill_dark="#2dd4bf",
        button_primary_text_color_dark="#06231f",
        button_large_radius="10px",
        button_small_radius="9px",
        slider_color="#0f766e",
        slider_color_dark="#2dd4bf",
    )
