"""Which backend serves a model: torch at once, and OpenVINO as soon as it is ready, near enough and measured faster."""

import logging
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ddim_app.backends import eager, openvino_backend
from ddim_app.backends.openvino_cache import ConversionCache, UnavailableError
from ddim_app.diffusion.sampler import Predict
from ddim_app.models.loading import Model

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
RACE_ROWS = (1, 4, 16)
RACE_ROUNDS = 5
FASTER = 1.05
"""Below this gain a change of backend, and with it of the last bits, is not worth it."""
Call = Callable[[Predict, Tensor, Tensor], Tensor]
"""Makes a call where calls are made."""


@dataclass
class OpenVinoCandidate:
    """What is known of OpenVINO for one model in one number format."""

    converted: openvino_backend.ConvertedNetwork | None = None
    is_faster: bool = False
    sentence: str = ""
    """How it came out, for the log and the page."""


class BackendSwitch:
    """Backends by model, as `wanted` says: "torch", "openvino", or "auto" to let OpenVINO in where it wins a race.

    Preparing takes seconds and is done by `prepare`, on whatever thread calls it; the calls of a race are made through `call`.
    """

    def __init__(self, wanted: str, device: torch.device, cache: Path | None, call: Call) -> None:
        self.wanted = wanted
        self.reason = ""
        """Why OpenVINO serves nobody here, if it cannot at all."""
        if device.type != "cpu":
            self.reason = f"OpenVINO serves the CPU, and this device is {device.type}"
        elif wanted != "torch" and not openvino_backend.is_here():
            self.reason = "OpenVINO is not installed (pip install openvino)"
        if wanted == "openvino" and self.reason:
            log.warning("%s, so torch goes on", self.reason)
        self._cache, self._call = ConversionCache(cache), call
        self._known: dict[tuple[str, str], OpenVinoCandidate] = {}
        self._preparing = threading.Lock()

    @property
    def races(self) -> bool:
        """Whether OpenVINO is still to be looked at for new models."""
        return self.wanted == "auto" and not self.reason

    def candidate(self, model: Model, fmt: str) -> OpenVinoCandidate:
        """What is known by now."""
        return self._known.get((model.sha256, fmt), OpenVinoCandidate())

    def refuse(self, model: Model, fmt: str, sentence: str) -> None:
        """Keeps OpenVINO from serving a model that does not ask for it."""
        known = self.candidate(model, fmt)
        known.is_faster, known.sentence = False, sentence
        log.warning("%s", sentence)

    def forget(self, kept: set[str]) -> None:
        """Drops all models but those with these hashes."""
        self._known = {key: known for key, known in self._known.items() if key[0] in kept}

    def prepare(self, model: Model, fmt: str, *, race: bool) -> OpenVinoCandidate:
        """Converts the model, once, and lets it run against torch when asked; what cannot be done is said in the candidate."""
        with self._preparing:
            known = self._known.setdefault((model.sha256, fmt), OpenVinoCandidate())
            if known.converted is None and not known.sentence:
                try:
                    known.converted = self._convert(model, fmt)
                except UnavailableError as error:
                    known.sentence = f"{error}, so torch goes on"
                    log.warning("%s", known.sentence)
            if race and known.converted is not None and not known.sentence:
                gain = measure(eager.predictor(model, CPU, fmt), known.converted.predictor(), model, self._call)
                known.is_faster = gain >= FASTER
                known.sentence = f"OpenVINO is {gain:.2f} times as fast as torch for {model.name} in {fmt}"
                log.info("%s", known.sentence)
            return known

    def _convert(self, model: Model, fmt: str) -> openvino_backend.ConvertedNetwork:
        if self.reason:
            raise UnavailableError(self.reason)
        began = time.perf_counter()
        try:
            converted = openvino_backend.ConvertedNetwork(model, fmt, self._cache)
        except UnavailableError:
            raise
        except Exception as error:  # of the runtime or its plugin, which has no common class
            first = str(error).strip().split("\n")[0][:200] or type(error).__name__
            raise UnavailableError(f"OpenVINO cannot run {model.name}: {first}") from error
        log.info("%s is ready in OpenVINO after %.1f s", model.name, time.perf_counter() - began)
        return converted


def measure(by_torch: Predict, by_openvino: Predict, model: Model, call: Call) -> float:
    """How many times as fast OpenVINO is, in turns: the geometric mean over batch sizes of the best calls' ratio.

    The best of some rounds counts, since others' work on the machine, and preparing weights at first, only ever add to a call.
    """
    gains = []
    for count in RACE_ROWS:
        x, t = torch.zeros(count, *model.shape), torch.full((count,), model.schedule.num_train_timesteps // 2)
        seconds: tuple[list[float], list[float]] = [], []
        for _ in range(RACE_ROUNDS + 1):
            for predict, taken in zip((by_torch, by_openvino), seconds, strict=True):
                began = time.perf_counter()
                call(predict, x, t)
                taken.append(time.perf_counter() - began)
        gains.append(min(seconds[0]) / min(seconds[1]))
    return statistics.geometric_mean(gains)
