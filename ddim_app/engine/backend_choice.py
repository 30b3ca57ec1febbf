"""What a host does best with each model: the backend that serves it, what that costs in fidelity, which buckets give equal bits.

All of it is measured on a thread of its own, while nobody uses the device; runs go on with torch meanwhile.
"""

import atexit
import logging
import threading
from pathlib import Path
from typing import NamedTuple

from ddim_app import backends
from ddim_app.diffusion.sampler import Predict
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.fidelity import Fidelity, fidelity
from ddim_app.lazy import torch
from ddim_app.models.loading import Model
from ddim_app.runs.sampling import Arm

log = logging.getLogger(__name__)

IDLE_SECONDS = 3
"""Without a network call, after which a host is taken to have time for a measurement."""
NEARNESS = (10, range(4))
"""DDIM's steps and the seeds that the page's figure of the difference to fp32 is measured on."""
LEAST_DECIBELS = 30.0
"""Below this PSNR to fp32, OpenVINO serves only the runs that name it."""


class EvaluatorKey(NamedTuple):
    """What runs must have in common to share a network call."""

    sha256: str
    number_format: str
    backend: str = "torch"
    bucket: int | None = None


class BackendChoice:
    """The backends of one engine. `wanted` is "torch", "openvino" or "auto" (see `Engine`)."""

    def __init__(self, wanted: str, device: "torch.device", loop: BatchLoop, cache: Path | None = None) -> None:
        self.wanted = wanted
        self._device, self._loop = device, loop
        self._switch = backends.BackendSwitch(wanted, device, cache, loop.call)
        self._nearness: dict[EvaluatorKey, Fidelity] = {}
        self._invariant: dict[EvaluatorKey, list[set[int]]] = {}
        self._begun: set[str] = set()
        self._closing = threading.Event()

    def number_format(self, precision: str) -> str:
        return backends.number_format(precision, self._device)

    def key(self, model: Model, precision: str, asked: str | None = None) -> EvaluatorKey:
        """How a new run of the model is evaluated: by OpenVINO where it is ready and asked for, or faster, else by torch."""
        fmt, wanted = self.number_format(precision), asked or self.wanted
        known = self._switch.candidate(model, fmt)
        served = known.converted is not None and (wanted == "openvino" or (wanted == "auto" and known.is_faster))
        # Without a wish for it, exact is torch's.
        return EvaluatorKey(model.sha256, fmt, "openvino" if served and (precision == "fast" or wanted == "openvino") else "torch")

    def evaluator(self, key: EvaluatorKey, model: Model) -> Predict:
        """The model's network as the key says."""
        converted = self._switch.candidate(model, key.number_format).converted if key.backend == "openvino" else None
        if converted is not None:
            return converted.predictor(key.bucket)
        return backends.predictor(model, self._device, key.number_format, key.bucket)

    def smallest_bucket(self, key: EvaluatorKey) -> int:
        """What a call of one row is filled up to."""
        return 1 if key.backend == "openvino" else backends.smallest(key.number_format)

    def nearness(self, key: EvaluatorKey) -> Fidelity | None:
        """How far the pictures of runs with this key are from those of fp32, as far as it was measured."""
        return self._nearness.get(key._replace(bucket=None))

    def equal_buckets(self, key: EvaluatorKey) -> list[set[int]]:
        """Groups of buckets that are known to give the same bits."""
        return self._invariant.get(key._replace(bucket=None), [])

    def sentence(self, model: Model, fmt: str) -> str:
        """How the choice of the model's backend in a number format came about; "" before it did."""
        return self._switch.candidate(model, fmt).sentence or self._switch.reason

    def words(self, key: EvaluatorKey) -> str:
        """Backend and number format, and how far pictures are from fp32 as far as that was measured."""
        words = f"{'OpenVINO ' if key.backend == 'openvino' else ''}{key.number_format}"
        near = self.nearness(key)
        return words if near is None else f"{words}, {near.median:.0f} dB from fp32"

    def forget(self, kept: set[str]) -> None:
        """Drops the networks of all models but those with these hashes."""
        self._switch.forget(kept)
        self._begun &= kept

    def ask(self, model: Model, precision: str, asked: str | None) -> None:
        """A run is about to begin: prepares the backend that it asks for by name, or sees to it that the model is looked at."""
        if (asked or self.wanted) == "openvino":
            self._switch.prepare(model, self.number_format(precision), race=False)
        elif self._switch.races and self._loop.threaded and precision == "fast" and self.begin(model):
            threading.Thread(target=self.improve, args=(model,), name="tuning", daemon=True).start()

    def begin(self, model: Model) -> bool:
        """Takes the model for whoever calls first."""
        first = model.sha256 not in self._begun
        self._begun.add(model.sha256)
        return first

    def improve(self, model: Model) -> None:
        """As soon as nobody uses the device: prepares the faster backend and lets it run against torch, and measures how far
        "fast" is from fp32 and which buckets give the same bits."""
        if threading.current_thread() is not threading.main_thread():
            atexit.register(self._end, threading.current_thread())
        try:
            if self._switch.races and self._is_idle():
                self._switch.prepare(model, self.number_format("fast"), race=True)
            if self.number_format("fast") != "fp32" and self._is_idle():
                self._measure_nearness(model)
            if self._is_idle():
                self.check_buckets(model, "fast")
        except Exception:  # a measurement that fails leaves everything as it was
            if not self._closing.is_set():  # the loop may be closed in the midst of it
                log.exception("%s could not be measured, and goes on as it is", model.name)

    def check_buckets(self, model: Model, precision: str) -> list[set[int]]:
        """Measures in which buckets a row has the same bits whatever its place and neighbours; takes seconds."""
        key = self.key(model, precision)
        groups = backends.invariant_buckets(
            lambda bucket: self._on_loop(self.evaluator(key._replace(bucket=bucket), model)),
            model.shape,
            model.schedule.num_train_timesteps,
            self._device,
        )
        self._invariant[key] = groups
        return groups

    def _measure_nearness(self, model: Model) -> None:
        key = self.key(model, "fast")
        (steps, seeds), schedule = NEARNESS, model.schedule
        arm = Arm(steps=min(steps, schedule.num_train_timesteps), spacing=schedule.usual_spacing)
        exact = self._on_loop(backends.predictor(model, self._device, "fp32"))
        near = fidelity(self._on_loop(self.evaluator(key, model)), exact, model, arm, seeds)
        self._nearness[key] = near
        if key.backend == "openvino" and self.wanted == "auto" and near.median < LEAST_DECIBELS:
            words = f"OpenVINO's pictures of {model.name} are {near.median:.0f} dB from fp32, so torch goes on"
            self._switch.refuse(model, key.number_format, words)

    def _on_loop(self, predict: Predict) -> Predict:
        """The network function, called on the thread of the batch loop as runs call it."""
        return lambda *given: self._loop.call(predict, *given)

    def _is_idle(self) -> bool:
        """Waits until no network call was made for a while; False when the process ends first."""
        calls = None
        while calls != self._loop.calls or self._loop.runs or self._loop.busy:
            calls = self._loop.calls
            if self._closing.wait(IDLE_SECONDS):
                return False
        return not self._closing.is_set()

    def _end(self, thread: threading.Thread) -> None:
        """A process that ends while a thread is inside a library aborts, so it waits for what is under way."""
        self._closing.set()
        thread.join()
