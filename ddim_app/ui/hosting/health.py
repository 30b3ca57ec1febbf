"""What /health and /metrics tell of a server."""

from typing import Any

from ddim_app.engine import Engine
from ddim_app.ui.hosting.gradio_patches import EventQueue


def status(engine: Engine, queue: EventQueue) -> dict[str, Any]:
    """What /health tells: whether runs are taken, on what, and how many there are."""
    names = engine.catalogue.names()
    return {
        "status": "ending" if engine.closing else "starting" if engine.is_starting else "ok" if names else "no model",
        "model": names[0] if names else None,
        "models": names,
        "device": None if engine.is_starting else engine.device.type,
        "number_format": None if engine.is_starting else engine.number_format("fast"),
        "running": engine.running,
        "waiting": queue.waiting,
        "max_waiting": queue.most,
    }


def gauges(engine: Engine, queue: EventQueue) -> str:
    figures = {
        "runs": engine.running, "waiting": queue.waiting, "visitors": len(engine.visitors),
        "unread_sessions": queue.unread,
    }  # fmt: skip
    return "".join(f"# TYPE ddim_{name} gauge\nddim_{name} {value}\n" for name, value in figures.items())
