"""The network by OpenVINO on a CPU, which calls its kernels without Python in between.

OpenVINO is optional. Whatever it cannot do is an UnavailableError, whose message is a sentence; the caller goes on with torch.
"""

import copy
import functools
import sys
import threading
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddim_app.backends import eager, mixture
from ddim_app.backends.devices import threads
from ddim_app.backends.openvino_cache import ConversionCache, UnavailableError
from ddim_app.backends.single_row import positional
from ddim_app.diffusion.noise import Shape
from ddim_app.diffusion.sampler import Predict
from ddim_app.models.loading import Model
from ddim_app.models.memory import free_bytes

HINTS = {"bf16": "bf16", "fp32": "f32"}
MOST_SIZES = 8
"""Batch sizes compiled at a time; each has its own copy of the weights."""
FURTHEST = {"bf16": 0.05, "fp32": 1e-3}
"""How far a converted network may be from torch's in fp32: root mean square over that of the output."""


@functools.cache
def runtime() -> Any:
    """The openvino package, whose import sends nothing home; raises UnavailableError where there is none."""
    # Its import would report to its makers; without this package it goes without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
        import openvino.frontend.pytorch.ts_decoder
    except Exception as error:  # a broken installation raises whatever its libraries raise
        raise UnavailableError(f"OpenVINO cannot be loaded ({str(error)[:100]})") from error
    return openvino


@functools.cache
def core() -> Any:
    return runtime().Core()


def is_here() -> bool:
    """Whether OpenVINO can be loaded."""
    try:
        runtime()
    except UnavailableError:
        return False
    return True


def _check_room(model: Model) -> None:
    """Raises UnavailableError for a model whose weights, once for each batch size, would take what is free."""
    needed, free = 4 * model.parameters * (MOST_SIZES + 2), free_bytes(torch.device("cpu"))
    if needed > free / 2:
        raise UnavailableError(f"OpenVINO needs about {needed / 1e9:.1f} GB for {model.name}, and {free / 1e9:.1f} GB are free")


class ConvertedNetwork:
    """A model's network as OpenVINO's, ready to be compiled for any batch size; checked against the model's own."""

    def __init__(self, model: Model, fmt: str, cache: ConversionCache | None = None) -> None:
        if fmt not in HINTS:
            raise UnavailableError(f"OpenVINO computes in {' or '.join(HINTS)} here, and not in {fmt}")
        _check_room(model)
        source, self._classes = _source(model, cache or ConversionCache()), len(model.classes.names)
        self._request = functools.lru_cache(MOST_SIZES)(functools.partial(_request, source, model.shape, HINTS[fmt]))
        self._busy = threading.Lock()
        self._check(model, FURTHEST[fmt])

    def predictor(self, pinned: int | None = None) -> Predict:
        """As `backends.predictor`: rows in fp32 in and out, in buckets, each compiled when first used."""
        return eager.in_buckets(self._evaluate, torch.device("cpu"), pinned, classes=self._classes > 0)

    def _evaluate(self, x: Tensor, *given: Tensor) -> Tensor:
        with self._busy:
            inputs = [x.contiguous().numpy(), *(each.numpy() for each in given)]
            done = self._request(len(x)).infer(inputs, share_inputs=True)
            return torch.from_numpy(done[0].copy())

    def _check(self, model: Model, furthest: float) -> None:
        """Compares with torch at a few noise levels; raises UnavailableError when this is not the model's network."""
        x = torch.randn(4, *model.shape, generator=torch.Generator().manual_seed(0))
        t = torch.linspace(0, model.schedule.num_train_timesteps - 1, 4).long()
        given = (t, torch.arange(4) % self._classes) if self._classes else (t,)
        with torch.inference_mode():
            expected = model.unet(x, *given, return_dict=False)[0]
        apart = float((self.predictor()(x, *given) - expected).square().mean().sqrt() / expected.square().mean().sqrt())
        if not apart < furthest:
            raise UnavailableError(f"OpenVINO's {model.name} is {100 * apart:.1f} % from torch's, which is too far")


def _request(source: tuple[str, Any], shape: Shape, hint: str, rows: int) -> Any:
    """What evaluates batches of `rows`; static shapes are much faster than one for all."""
    network = core().read_model(*source)
    network.reshape({0: [rows, *shape], **{i: [rows] for i in range(1, len(network.inputs))}})
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads(), "PERFORMANCE_HINT": "LATENCY"}
    return core().compile_model(network, "CPU", settings).create_infer_request()


def _source(model: Model, cache: ConversionCache) -> tuple[str, Any]:
    """(IR as text, weights) of a model, from the cache or converted now."""
    key = cache.key(model, runtime().__version__)
    found = cache.find(key)
    if found is None:
        try:
            found = cache.store(key, lambda folder: _convert(model, folder))
        except UnavailableError:
            raise
        except Exception as error:  # the converter's errors are of many kinds
            reason = str(error).strip().split("\n")[-1][:120]
            raise UnavailableError(f"OpenVINO could not convert {model.name} ({reason})") from error
    text, weights = found
    return _with_marks(text), runtime().Tensor(np.frombuffer(weights, np.uint8).copy())


def _convert(model: Model, folder: Path) -> None:
    """Writes the network, for any batch size, to `folder`; takes seconds."""
    ov = runtime()
    # A copy, since the loop may be calling this one.
    unet = mixture.pointwise(copy.deepcopy(model.unet).cpu().to(memory_format=torch.contiguous_format))
    conditions = torch.zeros(1 + bool(model.classes.names), 2, dtype=torch.int64)
    example = torch.zeros(2, *model.shape), *conditions.unbind()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of each Python value that it takes for constant
        traced = torch.jit.trace(positional(unet).eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
        # By its parts, since `convert_model` would report to its makers. The frontend does not keep the decoder alive.
        frontend = ov.frontend.FrontEndManager().load_by_framework("pytorch")
        decoder = ov.frontend.pytorch.ts_decoder.TorchScriptPythonDecoder(traced)
        loaded = frontend.load(decoder)
        ov.save_model(frontend.convert(loaded), folder / "model.xml", compress_to_fp16=False)


def _with_marks(text: str) -> str:
    """The IR with the layers that `mixture` names kept in fp32 whatever the others compute in."""
    tree = ET.fromstring(text)
    for layer in tree.iter("layer"):
        if mixture.is_exact(layer.get("name", "")) and layer.get("type") not in ("Const", "Parameter", "Result"):
            marks = layer.find("rt_info")
            if marks is None:
                marks = ET.Element("rt_info")
                layer.insert(0 if layer.find("data") is None else 1, marks)
            ET.SubElement(marks, "attribute", name="precise", version="0")
    return ET.tostring(tree, "unicode")
