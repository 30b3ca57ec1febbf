"""The networks that evaluate a run's rows: by which backend, how many rows a call may have, how fast they were so far."""

import threading
from dataclasses import dataclass, field, replace

from ddim_app import backends
from ddim_app.diffusion.batch_sizes import bucket_of
from ddim_app.diffusion.sampler import Predict
from ddim_app.engine.backend_choice import BackendChoice, EvaluatorKey
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.tickets import End, Evaluator
from ddim_app.errors import FieldError
from ddim_app.lazy import torch
from ddim_app.models import memory
from ddim_app.models.cache import ModelCache
from ddim_app.models.loading import Model
from ddim_app.models.memory import is_out_of_memory
from ddim_app.runs.base import BaseRecipe, Plan


@dataclass
class Pace:
    """What calls of one model in one number format take, by their size: running means, since machines are shared."""

    calls: int = 0
    _seconds: dict[int, float] = field(default_factory=dict)
    """Seconds of a call, by its bucket."""

    def observe(self, seconds: float, rows: int) -> None:
        self.calls += 1
        if self.calls == 1:  # it prepared the weights
            return
        bucket = bucket_of(rows)
        self._seconds[bucket] = 0.7 * self._seconds.get(bucket, seconds) + 0.3 * seconds

    def seconds(self, rows: int) -> float | None:
        """What a call of that many rows takes; None before a second call.

        Between two sizes that were measured it lies on the line through them; beyond them a row takes what it took at the nearest.
        """
        size, known = bucket_of(rows), sorted(self._seconds.copy().items())
        below = max((item for item in known if item[0] <= size), default=None)
        above = min((item for item in known if item[0] >= size), default=None)
        if below is None or above is None:
            nearest = below or above
            return nearest and nearest[1] * size / nearest[0]
        part = (size - below[0]) / max(1, above[0] - below[0])
        return below[1] + part * (above[1] - below[1])


class Evaluators:
    """The networks of one engine; what was prepared for a model is dropped when the model leaves the cache."""

    def __init__(self, device: "torch.device", loop: BatchLoop, model_cache: ModelCache, backend_choice: BackendChoice) -> None:
        self.device, self.backends = device, backend_choice
        self._loop, self._model_cache = loop, model_cache
        self._predictors: dict[EvaluatorKey, tuple[Predict, int]] = {}
        self._paces: dict[EvaluatorKey, Pace] = {}
        self._measuring = threading.Lock()

    def renewed(self, loop: BatchLoop, model_cache: ModelCache) -> "Evaluators":
        """A copy for a forked process, in which a lock that another thread held would stay locked."""
        other = Evaluators(self.device, loop, model_cache, self.backends)
        other._predictors, other._paces = dict(self._predictors), dict(self._paces)
        return other

    def keys(self, planned: Plan) -> list[EvaluatorKey]:
        """One for each of the run's models; all have one backend."""
        recipe = planned.recipe
        keys = [self.backends.key(model, recipe.precision, recipe.backend) for model in planned.models]
        backend = "openvino" if all(key.backend == "openvino" for key in keys) else "torch"
        return [key._replace(backend=backend, bucket=recipe.bucket) for key in keys]

    def pace(self, key: EvaluatorKey) -> Pace:
        """What calls have taken so far."""
        return self._paces.get(key) or Pace()

    def of(self, planned: Plan, keys: list[EvaluatorKey] | None = None) -> list[Evaluator]:
        """The networks that a plan's rows are evaluated by."""
        networks = []
        for key, model in zip(keys or self.keys(planned), planned.models, strict=True):
            # A pinned run shares no call: its rows stand where they stood when its pictures were first made.
            group = key if key.bucket is None else (key, object())
            networks.append(Evaluator(*self._predictor(key, model), self._paces.setdefault(key, Pace()).observe, group))
        return networks

    def made(self, planned: Plan, keys: list[EvaluatorKey], end: End) -> BaseRecipe:
        """The recipe of a run's pictures: with its weights' hashes, its backend, and the bucket that makes them again.

        That is the largest of the buckets that its calls had, if they are known to give the same bits, or if there was but
        one and nobody else was in it; else there is none.
        """
        recipe: BaseRecipe = planned.recipe.made(
            {name: model.sha256 for name, model in zip(planned.recipe.models, planned.models, strict=True)}
        )
        least = max(self.backends.smallest_bucket(key) for key in keys)
        used = {max(least, bucket_of(size)) for size in end.sizes}
        measured = [self.backends.equal_buckets(key) for key in keys]
        exact = all(any(used <= group for group in groups) for groups in measured) or (len(used) == 1 and not end.shared)
        recipe = replace(recipe, backend=keys[0].backend)
        return recipe if recipe.bucket or not used else replace(recipe, bucket=max(used) if exact else None)

    def _predictor(self, key: EvaluatorKey, model: Model) -> tuple[Predict, int]:
        """The function that evaluates a model's rows, and how many one call may have."""
        with self._measuring:
            if key not in self._predictors:
                kept = self._model_cache.hashes()
                self._predictors = {other: value for other, value in self._predictors.items() if other.sha256 in kept}
                self.backends.forget(kept)
                predict = backends.on_one_core(self.backends.evaluator, key, model)
                # OpenVINO's memory cannot be watched from here; it takes about what torch does.
                plain = key._replace(backend="torch", bucket=None)
                watched = predict if key == plain else self.backends.evaluator(plain, model)
                room = self._loop.call(self._room, watched, model, key.bucket)
                if key.bucket and room < key.bucket:
                    raise FieldError("bucket", f"must be at most {room} on this machine: larger calls do not fit into its memory")
                self._predictors[key] = predict, key.bucket or room
            return self._predictors[key]

    def _room(self, predict: Predict, model: Model, most: int | None) -> int:
        """Rows that one call of the model may have, at most `most`; raises FieldError when there is no room for one."""
        try:
            return memory.max_rows(predict, model.shape, self.device, most)
        except RuntimeError as error:
            if not (isinstance(error, memory.TooLargeError) or is_out_of_memory(error)):
                raise
            free = memory.free_bytes(self.device) / 1e9
            raise FieldError(
                "model",
                f"is too large for this machine: {model.name} cannot evaluate one picture in the {free:.1f} GB that are free",
            ) from error
