"""What /health and /metrics tell of a server."""

from typing import Any

import gradio as gr

from ddim_app.engine import Engine


def status(engine: Engine, demo: gr.Blocks) -> dict[str, Any]:
    """What /health tells: whether runs are taken, on what, and how many there are."""
    names = engine.catalogue.names()
    return {
        "status": "ending" if engine.closing else "ok" if names else "no model",
        "model": names[0] if names else None,
        "models": names,
        "device": engine.device.type,
        "number_format": engine.number_format("fast"),
        "running": engine.running,
        "waiting": len(demo._queue),
        "max_waiting": demo._queue.max_size,
    }


def gauges(engine: Engine, demo: gr.Blocks) -> str:
    figures = {
        "runs": engine.running, "waiting": len(demo._queue), "visitors": len(engine.visitors),
        "unread_sessions": len(demo._queue.pending_messages_per_session),
    }  # fmt: skip
    return "".join(f"# TYPE ddim_{name} gauge\nddim_{name} {value}\n" for name, value in figures.items())
