"""The app: `python app.py`, then open the address it prints."""

import json
import logging
import os
import sys
import tempfile
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # and this when huggingface_hub is
# A folder of our own, since its oldest files are deleted; the usual one belongs to all of the user's gradio apps.
os.environ.setdefault(
    "GRADIO_TEMP_DIR", os.path.join(tempfile.gettempdir(), f"ddim-explorer-{os.getuid() if hasattr(os, 'getuid') else 'files'}")
)
if os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true"):
    import spaces  # before torch, as ZeroGPU wants it

    GPU = spaces.GPU
else:
    GPU = None

from ddim_app.backends import spare_cores
from ddim_app.engine import Engine
from ddim_app.engine import options as server_options
from ddim_app.engine.options import Options
from ddim_app.engine.zero_gpu import ZeroEngine
from ddim_app.models.catalogue import ROOT
from ddim_app.ui import build_ui, launch_options
from ddim_app.ui.hosting import server


def main() -> None:
    options = server_options.read()
    if not options.behind_proxy:  # else anybody on this machine could be anyone
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    log_requests()
    engine = make_engine(options)

    def warm_up() -> None:
        try:
            spare_cores()  # which imports torch
        finally:
            engine.is_starting = False
        engine.catalogue.fetch_hosts()
        engine.warm_up()

    if GPU is not None:  # before the first request, whose fork takes the models along
        warm_up()
    engine.is_starting = GPU is None
    demo = build_ui(
        engine,
        max_queue=options.max_queue,
        behind_proxy=options.behind_proxy,
        live=options.live,
        classroom=options.classroom,
        set_bytes=options.stored_sets * 1_000_000,
    )
    logging.getLogger("ddim_app").info(server_options.described(options))
    server.serve(demo, engine, options, launch_options(), warm_up if GPU is None else None)


def make_engine(options: Options) -> Engine:
    roots = [ROOT / "weights", ROOT / "runs", *([options.models_dir] if options.models_dir else [])]
    first = options.first_model
    settings: dict[str, Any] = {"allow_hub": options.allow_hub, "budget": options.budget, "first_model": first}
    engine = Engine(roots, backend=options.backend, **settings) if GPU is None else ZeroEngine(roots, gpu=GPU, **settings)
    if first and engine.catalogue.known_as(first) not in engine.catalogue.names():
        here = ", ".join(engine.catalogue.folders())
        sys.exit(f"app.py: error: --model must be one of the models here ({here}), or an id on the Hugging Face Hub; got {first!r}")
    return engine


class JsonLine(logging.Formatter):
    """A JSON object per line: those of runs as they are, words and tracebacks as text."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if not message.startswith("{"):
            trace = {"trace": self.formatException(record.exc_info)} if record.exc_info else {}
            message = json.dumps({"event": "message", "level": record.levelname, "text": message, **trace})
        return f'{{"time":"{self.formatTime(record, "%Y-%m-%dT%H:%M:%S")}","log":{message}}}'


def log_requests() -> None:
    """One JSON line per request, and per warning, to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLine())
    logger = logging.getLogger("ddim_app")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)


if __name__ == "__main__":
    main()
