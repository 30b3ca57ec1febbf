"""`python -m ddim_app benchmark`: how fast this machine is, beside the bare network and diffusers."""

import argparse
from pathlib import Path
from typing import Any

import torch

from ddim_app.runs.base import BACKENDS


def add(commands: Any) -> None:
    bench = commands.add_parser("benchmark", help="time this machine beside the bare network and diffusers")
    bench.add_argument("--repeats", type=int, default=5, help="timed rounds per row (default 5)")
    bench.add_argument("--quick", action="store_true", help="the first model's smallest rows only")
    bench.add_argument("--backend", choices=("auto", *BACKENDS), default="auto", help="torch: leave OpenVINO out")
    bench.add_argument("--models", nargs="*", help="names of the models (default: the bundled ones)")
    bench.add_argument("--pictures", type=int, nargs="*", help="pictures per run (default 1 4 16)")
    bench.add_argument("--steps", type=int, nargs="*", help="steps per run (default 10 50)")
    bench.add_argument("--sharing", action="store_true", help="time many requests at once instead, and cancelled ones")
    bench.add_argument(
        "--same-picture", action="store_true", help="time each sampler until it is within 5 of 255 of the exact flow"
    )
    bench.add_argument("--exact", metavar="FILE", type=Path, help="with --same-picture: keep the exact flow's pictures in this npz")
    bench.add_argument("--seeds", type=int, default=64, help="with --same-picture: pictures that are compared (default 64)")
    bench.add_argument("--gpu", metavar="FOLDER", type=Path, help="measure the GPU part by part instead, with results in FOLDER")
    bench.add_argument("--device", choices=("cuda", "cpu"), help="with --gpu: cpu rehearses the parts with small sizes")
    bench.add_argument("--parts", nargs="*", help="with --gpu: only these parts")
    bench.add_argument("--json", type=Path, help="also write the figures to this file")
    bench.set_defaults(run=run, parser=bench)


def run(arguments: argparse.Namespace) -> None:
    from ddim_app.studies import same_picture, sampling_benchmark, sharing  # here, since they bring diffusers along

    if arguments.repeats < 1:
        arguments.parser.error(f"--repeats must be 1 or more; got {arguments.repeats}")
    if arguments.gpu:
        _gpu(arguments)
    elif arguments.sharing:
        sharing.main(arguments.repeats)
    elif arguments.same_picture:
        same_picture.main(
            arguments.models, _backends(arguments), arguments.repeats, arguments.seeds, arguments.exact, arguments.json
        )
    else:
        plan = sampling_benchmark.BenchmarkPlan(
            arguments.repeats, arguments.quick, arguments.models, arguments.pictures or sampling_benchmark.PICTURES,
            arguments.steps or sampling_benchmark.STEPS, _backends(arguments),
        )  # fmt: skip
        sampling_benchmark.main(plan, arguments.json)


def _backends(arguments: argparse.Namespace) -> tuple[str, ...]:
    return ("torch",) if arguments.backend == "torch" else BACKENDS


def _gpu(arguments: argparse.Namespace) -> None:
    from ddim_app import backends
    from ddim_app.studies import gpu_benchmark

    device = torch.device(arguments.device) if arguments.device else backends.best_device()
    unknown = sorted(set(arguments.parts or ()) - set(gpu_benchmark.PARTS))
    if unknown:
        arguments.parser.error(f"--parts must be of {', '.join(gpu_benchmark.PARTS)}; got {', '.join(unknown)}")
    if device.type != "cuda" and arguments.device != "cpu":
        arguments.parser.error("--gpu needs an NVIDIA GPU; with --device cpu its parts rehearse themselves here")
    gpu_benchmark.main(arguments.gpu, device, arguments.parts)
