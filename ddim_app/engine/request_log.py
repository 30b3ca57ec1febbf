"""What a server says of its requests: one JSON line for each, and counters. Of a run it tells its recipe's hash, no more."""

import hashlib
import json
import logging
import threading
import time
from collections import Counter
from typing import Any

log = logging.getLogger(__name__)

DONE, STOPPED = "done", "stopped"


def recipe_hash(recipe: Any) -> str:
    """Names a recipe in the log: the start of the sha256 of its JSON."""
    return hashlib.sha256(recipe.to_json().encode()).hexdigest()[:16]


class RequestLog:
    """Counts what became of requests, and logs each at INFO."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._guard = threading.Lock()

    def refused(self, field: str) -> None:
        """A request was refused for that field, before it cost anything."""
        self._count(requests_refused=1)
        log.info(json.dumps({"event": "refused", "field": field[:40]}))

    def ended(self, entry: "LoggedRun", evaluations: int, outcome: str) -> None:
        seconds = time.monotonic() - entry.began
        name = outcome if outcome in (DONE, STOPPED) else "failed"
        self._count(**{f"runs_{name}": 1, "evaluations": evaluations, "run_milliseconds": round(1000 * seconds)})
        log.info(json.dumps({**entry.about, "evaluations": evaluations, "seconds": round(seconds, 3), "outcome": outcome}))

    def text(self) -> str:
        """The counters as Prometheus reads them."""
        with self._guard:
            items = sorted(self.counters.items())
        return "".join(f"# TYPE ddim_{name}_total counter\nddim_{name}_total {value}\n" for name, value in items)

    def _count(self, **amounts: int) -> None:
        with self._guard:
            self.counters.update(amounts)


class LoggedRun:
    """One run in the log, from its start until it is done, stopped or failed."""

    def __init__(self, request_log: RequestLog, plan: Any) -> None:
        self.began = time.monotonic()
        self.about = {
            "event": "run", "kind": plan.recipe.kind, "recipe": recipe_hash(plan.recipe), "model": plan.recipe.model,
            "rows": plan.at_once, "planned": plan.evaluations,
        }  # fmt: skip
        self._journal = request_log
        self.is_open = True
        self._guard = threading.Lock()

    def close(self, evaluations: int, outcome: str) -> bool:
        """Notes the end; whether it was the first."""
        with self._guard:
            first, self.is_open = self.is_open, False
        if first:
            self._journal.ended(self, evaluations, outcome)
        return first
