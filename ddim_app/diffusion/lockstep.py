"""Processes side by side: what they ask at the same time goes to the network together."""

from collections.abc import Generator, Sequence
from typing import Any

from ddim_app.diffusion.sampler import Moved, Query, answer
from ddim_app.lazy import Tensor, torch


def in_lockstep(processes: Sequence[Generator[Any, Any, Any]], first: int = 0) -> Generator[Any, Tensor, list[Any]]:
    """Runs processes in rounds; in each, every one that is not through has one query answered.

    The queries of a round that go to one network are asked as one. Reports are passed on with `k` set to the 0-based number of
    the last round, counted from `first`. Returns what the processes return.
    """
    results: list[Any] = [None] * len(processes)
    answers: dict[int, Tensor | Moved | None] = dict.fromkeys(range(len(processes)))
    k = first - 1
    while answers:
        asked: dict[int, Query] = {}
        for i, reply in answers.items():
            try:
                item = processes[i].send(reply)
                while not isinstance(item, Query):
                    yield item._replace(k=max(k, 0))
                    item = next(processes[i])
                asked[i] = item
            except StopIteration as stop:
                results[i] = stop.value
        answers = {}
        for network in sorted({query.network for query in asked.values()}):
            group = {i: query for i, query in asked.items() if query.network == network}
            x_t, t = torch.cat([query.x_t for query in group.values()]), [t for query in group.values() for t in query.t]
            classes = [y for query in group.values() for y in query.classes]
            steps = {query.where for query in group.values()}
            where = steps.pop() if len(steps) == 1 else f"round {k + 2} of network calls"
            outputs = torch.split((yield Query(x_t, t, network, None, classes, where)), [len(query.t) for query in group.values()])
            answers |= {i: answer(query, output) for (i, query), output in zip(group.items(), outputs, strict=True)}
        k += 1
    return results
