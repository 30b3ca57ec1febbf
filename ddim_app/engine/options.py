"""How the server is started: options of the command line, each with an environment variable, in one frozen value."""

import argparse
import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ddim_app.engine import space
from ddim_app.engine.limits import HOSTED, LOCAL, Budget
from ddim_app.errors import FieldError, choice, shown
from ddim_app.models.names import canonical, hub_name
from ddim_app.runs.base import BACKENDS

MAX_QUEUE, CLASS_QUEUE = 64, 160
"""Runs that may wait by default, and with a class: four of each of forty."""
FALSE = {"", "0", "false", "no", "off"}


@dataclass(frozen=True)
class Options:
    """A server's settings; host and port of None leave the choice to GRADIO_SERVER_NAME and GRADIO_SERVER_PORT."""

    host: str | None = None
    port: int | None = None
    first_model: str | None = None
    models: tuple[str, ...] = ()
    """Names of models from the command line, or on a Space from its README."""
    models_dir: Path | None = None
    auth: tuple[tuple[str, str], ...] = ()
    root_path: str | None = None
    share: bool = False
    max_queue: int = MAX_QUEUE
    no_hub: bool = False
    metrics: bool = False
    grace: float = 30.0
    backend: str = "auto"
    budget: Budget = LOCAL
    live: bool = True
    """Whether the page makes runs unasked."""
    stored_sets: int = 0
    """Megabytes of disk for stored sets of models other than the bundled one; with 0 none are made. A command line's are 500."""
    classroom: bool = False
    """Whether the visitors are a class, all behind one address."""
    on_space: bool = False
    hosted: bool = False
    """Whether strangers may come: they name no Hub ids but those of `models`, and have budgets."""

    @property
    def behind_proxy(self) -> bool:
        """Whether X-Forwarded-For was written by a proxy of ours."""
        return bool(self.root_path) or self.on_space

    @property
    def allow_hub(self) -> bool | tuple[str, ...]:
        if self.no_hub:
            return False
        return tuple(name for name in self.models if hub_name(name)) if self.hosted else True


def read(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> Options:
    """The options of a command line and its environment; ends the program with a sentence when one is wrong."""
    parser = _parser()
    given = parser.parse_args(argv)
    try:
        return _options(given, environ)
    except FieldError as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Compare DDPM and DDIM by sliders, in the browser.",
        epilog="Every option has an environment variable, DDIM_ and its name in capitals: DDIM_MAX_QUEUE=8 is --max-queue 8.",
    )
    for name, (metavar, words) in VALUES.items():
        action = "append" if name == "model" else "store"
        parser.add_argument(f"--{name}", action=action, metavar=metavar, help=words)
    for name, words in FLAGS.items():
        parser.add_argument(f"--{name}", action="store_true", default=None, help=words)
    return parser


VALUES = {
    "host": ("ADDRESS", "address to listen on (default: this machine only, or GRADIO_SERVER_NAME)"),
    "port": ("PORT", "port (default: 7860 or the next free one, or GRADIO_SERVER_PORT)"),
    "model": ("NAME", "model that the page starts with: one here, or an id on the Hugging Face Hub; may be repeated, and hosted "
              "the ids given here are the only ones that visitors may name"),
    "models-dir": ("FOLDER", "folder whose subfolders are offered as models, besides weights/ and runs/"),
    "auth-file": ("FILE", "lines of name:password; only who knows one of them may use the page and the API"),
    "root-path": ("PATH", "path that a reverse proxy serves the app under, such as /ddim; believes its X-Forwarded-For"),
    "max-queue": ("RUNS", f"runs that may wait for the device; more are refused at once (default {MAX_QUEUE})"),
    "max-evaluations": ("ROWS", f"network evaluations of one run (default: none; hosted {HOSTED.max_evaluations})"),
    "max-pictures": ("PICTURES", f"pictures of one run, all its samplers counted (default: none; hosted {HOSTED.max_pictures})"),
    "max-seconds": ("SECONDS", f"wall time of one run (default: none; hosted {HOSTED.max_seconds})"),
    "max-runs": ("RUNS", f"runs that one visitor may have under way or waiting (default: none; hosted {HOSTED.max_runs})"),
    "max-link-evaluations": ("ROWS", "network evaluations up to which a link opens on its finished run, beyond on its settings "
                             f"(default: none; hosted {HOSTED.max_link_evaluations})"),
    "max-evaluations-per-minute": ("ROWS", "network evaluations of one visitor, averaged over ten minutes, with what is made "
                                   f"unasked (default: none; hosted {HOSTED.max_evaluations_per_minute})"),
    "max-address-evaluations-per-minute": ("ROWS", "the same of all visitors of an address (default: none; hosted "
                                           f"{HOSTED.max_address_evaluations_per_minute})"),
    "backend": ("NAME", "what evaluates the network on a CPU: auto (torch at once, OpenVINO as soon as it is ready and faster), "
                f"{' or '.join(BACKENDS)} (default auto)"),
    "live": ("on|off", "whether settings answer while they are moved, and ladders fill, without a press on Run (default on)"),
    "stored-sets": ("MEGABYTES", "disk for what Compare has stored of models other than the bundled one, made in the background "
                    "while a page shows them; 0: none (default 500)"),
    "grace": ("SECONDS", "how long SIGTERM leaves to the runs under way (default 30)"),
}  # fmt: skip
FLAGS = {
    "share": "also open a public link through Gradio's server",
    "no-hub": "offer only the models here, and download none (the default on a Space that names none)",
    "metrics": "counters at /metrics, as Prometheus reads them",
    "classroom": f"for a class behind one address: no limits by address, {CLASS_QUEUE} runs may wait, and ladders are not filled "
                 "unasked, but those of the seeds 0 to 39 are drawn at the start and kept",
    "hosted": "limits for strangers; the default with --share, --root-path, on a Space, and on an address that others can reach",
}  # fmt: skip


def _options(given: argparse.Namespace, environ: Mapping[str, str]) -> Options:
    def value(name: str) -> Any:
        from_line = getattr(given, name.replace("-", "_"))
        from_environment = environ.get(f"DDIM_{name.upper().replace('-', '_')}", "").strip()
        return from_line if from_line is not None else from_environment or None

    def flag(name: str) -> bool:
        return bool(given.__dict__[name.replace("-", "_")]) or str(value(name) or "").lower() not in FALSE

    on_space = "SPACE_ID" in environ
    host = value("host")
    reachable = not _is_loopback(host or environ.get("GRADIO_SERVER_NAME"))
    hosted = flag("hosted") or flag("share") or bool(value("root-path")) or on_space or reachable
    classroom = flag("classroom")
    default = replace(HOSTED if hosted else LOCAL, **{"max_address_evaluations_per_minute": None} if classroom else {})
    models = _models(value("model") or ())
    caps = {name: _number(f"--{name.replace('_', '-')}", value(name), 1, 10**9) for name in vars(LOCAL)}
    return Options(
        host=host,
        port=_number("--port", value("port"), 1, 65535),
        first_model=models[0] if models else None,
        models=models or (_models(space.models()) if on_space else ()),
        models_dir=_folder(value("models-dir")),
        auth=_auth(value("auth-file")),
        root_path=_root_path(value("root-path")),
        share=flag("share"),
        max_queue=_number("--max-queue", value("max-queue"), 1, 100_000) or (CLASS_QUEUE if classroom else MAX_QUEUE),
        no_hub=flag("no-hub"),
        metrics=flag("metrics"),
        grace=_number("--grace", value("grace"), 0, 3600) if value("grace") is not None else 30,
        backend=choice("--backend", value("backend") or "auto", ("auto", *BACKENDS)),
        budget=replace(default, **{name: number for name, number in caps.items() if number is not None}),
        live=choice("--live", value("live") or "on", ("on", "off")) == "on",
        stored_sets=500 if (sets := _number("--stored-sets", value("stored-sets"), 0, 10**6)) is None else sets,
        classroom=classroom,
        on_space=on_space,
        hosted=hosted,
    )


def _is_loopback(host: str | None) -> bool:
    try:
        return host is None or host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _number(name: str, value: Any, low: int, high: int) -> Any:
    if value is None:
        return None
    if not str(value).isascii() or not str(value).isdecimal() or not low <= int(value) <= high:
        raise FieldError(name, f"must be a whole number from {low} to {high}; got {shown(value)}")
    return int(value)


def _models(given: str | Sequence[str]) -> tuple[str, ...]:
    names = [canonical(name) for name in (given.split(",") if isinstance(given, str) else given)]
    if not all(0 < len(name) <= 200 for name in names):
        raise FieldError("--model", "must be the name of a model; got nothing")
    return tuple(dict.fromkeys(names))


def _folder(value: str | None) -> Path | None:
    if value is not None and not Path(value).is_dir():
        raise FieldError("--models-dir", f"must be a folder that exists; got {shown(value)}")
    return Path(value).resolve() if value else None


def _root_path(value: str | None) -> str | None:
    if value is not None and not value.startswith(("/", "http://", "https://")):
        raise FieldError("--root-path", f"must begin with / or be a whole address; got {shown(value)}")
    return value.rstrip("/") or None if value else None


def _auth(file: str | None) -> tuple[tuple[str, str], ...]:
    if file is None:
        return ()
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise FieldError("--auth-file", f"must be a readable text file; got {shown(file)}") from error
    pairs = [line.partition(":") for line in lines if line.strip() and not line.startswith("#")]
    if not pairs or not all(name.strip() and colon and password for name, colon, password in pairs):
        raise FieldError("--auth-file", f"must hold lines of name:password; {shown(file)} has another, or none")
    return tuple((name.strip(), password) for name, _, password in pairs)


def described(options: Options) -> str:
    """The limits in one line, for the log."""
    return json.dumps(
        {
            "event": "start",
            "hosted": options.hosted,
            "classroom": options.classroom,
            "live": options.live,
            "max_queue": options.max_queue,
            **vars(options.budget),
        }
    )
