"""The networks that evaluate a run's rows: by which backend, how many rows a call may have, how fast they were so far."""

import threading
from dataclasses import dataclass

import torch

from ddim_app.diffusion.sampler import Predict
from ddim_app.engine.backend_choice import BackendChoice, EvaluatorKey
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.tickets import Evaluator
from ddim_app.errors import FieldError
from ddim_app.models import memory
from ddim_app.models.cache import ModelCache
from ddim_app.models.loading import Model
from ddim_app.models.memory import is_out_of_memory
from ddim_app.runs.base import Plan


@dataclass
class Pace:
    """Measured speed of one model in one number format: a running mean, since machines are shared."""

    seconds_per_row: float | None = None
    calls: int = 0

    def observe(self, seconds: float, rows: int) -> None:
        self.calls += 1
        if self.calls == 1:  # it prepared the weights
            return
        measured = seconds / rows
        self.seconds_per_row = measured if self.seconds_per_row is None else 0.7 * self.seconds_per_row + 0.3 * measured


class Evaluators:
    """The networks of one engine; what was prepared for a model is dropped when the model leaves the cache."""

    def __init__(self, device: torch.device, loop: BatchLoop, model_cache: ModelCache, backend_choice: BackendChoice) -> None:
        self._device, self._loop, self._model_cache, self._backends = device, loop, model_cache, backend_choice
        self._predictors: dict[EvaluatorKey, tuple[Predict, int]] = {}
        self._paces: dict[EvaluatorKey, Pace] = {}
        self._measuring = threading.Lock()

    def renewed(self, loop: BatchLoop, model_cache: ModelCache) -> "Evaluators":
        """A copy for a forked process, in which a lock that another thread held would stay locked."""
        other = Evaluators(self._device, loop, model_cache, self._backends)
        other._predictors, other._paces = dict(self._predictors), dict(self._paces)
        return other

    def keys(self, planned: Plan) -> list[EvaluatorKey]:
        """One for each of the run's models; all have one backend."""
        recipe = planned.recipe
        keys = [self._backends.key(model, recipe.precision, recipe.backend) for model in planned.models]
        backend = "openvino" if all(key.backend == "openvino" for key in keys) else "torch"
        return [key._replace(backend=backend, bucket=recipe.bucket) for key in keys]

    def seconds_per_row(self, key: EvaluatorKey) -> float | None:
        """What a row has taken so far; None before a second call."""
        pace = self._paces.get(key)
        return pace.seconds_per_row if pace else None

    def of(self, planned: Plan, keys: list[EvaluatorKey] | None = None) -> list[Evaluator]:
        """The networks that a plan's rows are evaluated by."""
        networks = []
        for key, model in zip(keys or self.keys(planned), planned.models, strict=True):
            # A pinned run shares no call: its rows stand where they stood when its pictures were first made.
            group = key if key.bucket is None else (key, object())
            networks.append(Evaluator(*self._predictor(key, model), self._paces.setdefault(key, Pace()).observe, group))
        return networks

    def _predictor(self, key: EvaluatorKey, model: Model) -> tuple[Predict, int]:
        """The function that evaluates a model's rows, and how many one call may have."""
        with self._measuring:
            if key not in self._predictors:
                kept = self._model_cache.hashes()
                self._predictors = {other: value for other, value in self._predictors.items() if other.sha256 in kept}
                self._backends.forget(kept)
                predict = self._backends.evaluator(key, model)
                # OpenVINO's memory cannot be watched from here; it takes about what torch does.
                plain = key._replace(backend="torch", bucket=None)
                watched = predict if key == plain else self._backends.evaluator(plain, model)
                room = self._loop.call(self._room, watched, model, key.bucket)
                if key.bucket and room < key.bucket:
                    raise FieldError("bucket", f"must be at most {room} on this machine: larger calls do not fit into its memory")
                self._predictors[key] = predict, key.bucket or room
            return self._predictors[key]

    def _room(self, predict: Predict, model: Model, most: int | None) -> int:
        """Rows that one call of the model may have, at most `most`; raises FieldError when there is no room for one."""
        try:
            return memory.max_rows(predict, model.shape, self._device, most)
        except RuntimeError as error:
            if not (isinstance(error, memory.TooLargeError) or is_out_of_memory(error)):
                raise
            free = memory.free_bytes(self._device) / 1e9
            raise FieldError(
                "model",
                f"is too large for this machine: {model.name} cannot evaluate one picture in the {free:.1f} GB that are free",
            ) from error
