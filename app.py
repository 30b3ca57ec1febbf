"""The app: `python app.py`, then open the address it prints."""

import argparse
import os
import threading

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

from ddim_app.backends import use_cores
from ddim_app.engine import Engine
from ddim_app.recipe import BACKENDS
from ddim_app.ui import build_ui, launch_options


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare DDPM and DDIM by sliders, in the browser.")
    parser.add_argument("--host", help="address to listen on (default: this machine only, or GRADIO_SERVER_NAME)")
    parser.add_argument("--port", type=int, help="port (default: 7860 or the next free one, or GRADIO_SERVER_PORT)")
    parser.add_argument(
        "--max-evaluations", type=int, default=os.environ.get("DDIM_MAX_EVALUATIONS"),
        help="refuse runs of more network evaluations than this (or DDIM_MAX_EVALUATIONS; default: no limit)",
    )  # fmt: skip
    parser.add_argument(
        "--no-hub", action="store_true", default="SPACE_ID" in os.environ or "DDIM_NO_HUB" in os.environ,
        help="offer only the models here, and download none (or DDIM_NO_HUB; the default on a Space)",
    )  # fmt: skip
    parser.add_argument(
        "--backend", choices=("auto", *BACKENDS), default="auto",
        help="what evaluates the network on a CPU (default auto: torch at once, OpenVINO as soon as it is ready and faster)",
    )  # fmt: skip
    arguments = parser.parse_args()
    use_cores()
    engine = Engine(max_evaluations=arguments.max_evaluations, allow_hub=not arguments.no_hub, backend=arguments.backend)
    threading.Thread(target=engine.warm_up, name="warm-up", daemon=True).start()
    build_ui(engine).launch(server_name=arguments.host, server_port=arguments.port, **launch_options())


if __name__ == "__main__":
    main()
