"""How the page is launched and how it looks: options of Gradio, colours, fonts."""

from typing import Any

import gradio as gr

from ddim_app.ui.assets import asset

FONT = (
    '<style>@font-face { font-family: "Inter Explorer"; font-weight: 400 700; font-display: swap; '
    'src: url("inter.woff2") format("woff2"); }</style>'
)
"""Inter by the page's own route, so that it looks the same everywhere and fetches nothing from others."""
IN_LEARN = 'html:has(body[data-tab="learn"])'
PRINT = (
    f"<style>@page {{ margin: 14mm; }} @media print {{ {IN_LEARN}, {IN_LEARN} {4 * ':has(#chapters)'} "
    "{ display: block !important; overflow: visible !important; } }</style>"
)
"""For paper, where all that is no block is cut at its height on the screen. In page.css Gradio adds a class of its own."""
VISITORS = 100
"""Pages whose last run is kept, those that came last; each run is bounded by stage.REPLAY_BYTES and stage.FINAL_BYTES."""


def launch_options() -> dict[str, Any]:
    """What a serious app sets: no telemetry, no open paths, no server-side rendering, uploads bounded."""
    return {
        "theme": _theme(),
        "css": asset("page.css"),
        "head": f"{FONT}{PRINT}<script>{asset('wait.js')}{asset('memory.js')}</script>",
        "js": asset("page.js"),
        "footer_links": ["api"],
        "max_file_size": "10mb",
        "allowed_paths": [],
        "state_session_capacity": VISITORS,
        "enable_monitoring": False,
        "run_history": False,
        "ssr_mode": False,
        "pwa": False,
    }


def _theme() -> gr.themes.Base:
    # As objects, since Gradio compares them with its own, and those cannot be compared with text.
    font, mono = (
        [gr.themes.Font(name) for name in names]
        for names in (("Inter Explorer", "Inter", "system-ui", "sans-serif"), ("ui-monospace", "monospace"))
    )
    theme = gr.themes.Default(primary_hue="teal", neutral_hue="gray", font=font, font_mono=mono)
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
        input_radius="9px",
        input_border_color="var(--edge)",
        input_border_color_dark="var(--edge)",
        input_background_fill_dark="var(--card)",
        checkbox_background_color_selected="var(--ink)",
        checkbox_background_color_selected_dark="var(--ink)",
        checkbox_border_color_selected="var(--ink)",
        checkbox_border_color_selected_dark="var(--ink)",
        slider_color="#0f766e",
        slider_color_dark="#2dd4bf",
    )
