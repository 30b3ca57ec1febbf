"""A process driven to its end by a network."""

import torch

from ddim_app.diffusion.sampler import Query, answer
from tests.oracle import Gaussian
from tests.toys import LINEAR

DATA = Gaussian(0.0, 0.5)


def run(process, predict=None):
    """(what the process returns, its moves, its evaluations)."""
    predict = predict or DATA.network(LINEAR.alphas_cumprod)
    moves, asked = [], 0
    try:
        item = next(process)
        while True:
            if isinstance(item, Query):
                asked += 1
                item = process.send(answer(item, predict(item.x_t, torch.tensor(item.t))))
            else:
                moves.append(item)
                item = next(process)
    except StopIteration as stop:
        return stop.value, moves, asked
