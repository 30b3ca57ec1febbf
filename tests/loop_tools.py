"""Runs in a batch loop that can be watched: a network that records its calls and can be held up, and a reader that keeps all."""

import queue
import threading
import time

import torch

from ddim_app.diffusion.sampler import Row, Step, sample
from ddim_app.engine import tickets
from ddim_app.engine.tickets import End
from tests import toys
from tests.toys import LINEAR

PATIENCE = 60
"""Seconds after which a run that does not end fails its test; nothing here takes one."""


class Network:
    """The toy network with a record of its calls, which can be held up and told to fail."""

    def __init__(self, held=False, fails=lambda x, t: None):
        self.calls = []
        self.fails = fails
        self.entered = queue.SimpleQueue()
        self.gate = threading.Semaphore(0)
        self.held = held

    def __call__(self, x, t):
        assert x.dtype == torch.float32
        self.calls.append(t.tolist())
        self.entered.put(len(self.calls))
        if self.held:
            assert self.gate.acquire(timeout=PATIENCE)
        output = toys.network(x, t)
        failure = self.fails(x, t)
        if isinstance(failure, BaseException):
            raise failure
        return output if failure is None else failure

    def wait_for_call(self):
        self.entered.get(timeout=PATIENCE)

    def release(self):
        """No call is held up any more."""
        self.held = False
        self.gate.release(1000)


class Run:
    """A run in the loop with all that it emitted."""

    def __init__(self, loop, network, visited, pictures=1, group="model", seed=0, background=False, **row):
        self.x = toys.pictures(pictures, seed=seed).float()
        self.rows = [Row(LINEAR.levels_at(visited), **{"clip": "clip"} | row)] * pictures
        self.items = []
        self.ended = threading.Event()
        self.on_step = lambda step: None
        evaluators = [tickets.Evaluator(network, group=group)]
        self.ticket = loop.join(sample(self.x, self.rows), evaluators, self.emit, background)

    def emit(self, item):
        self.items.append(item)
        if isinstance(item, End):
            self.ended.set()
        else:
            self.on_step(item)

    def end(self):
        assert self.ended.wait(PATIENCE)
        return self.items[-1]

    @property
    def steps(self):
        return [item for item in self.items if isinstance(item, Step)]

    def assert_completed(self):
        """It ended well, once, with the pictures that it has when it is alone."""
        assert self.end().error is None
        assert sum(isinstance(item, End) for item in self.items) == 1
        torch.testing.assert_close(self.steps[-1].x_next, toys.final(self.x, self.rows), rtol=0, atol=1e-5)
        assert len(self.steps) == self.rows[0].transitions


def assert_empty(loop):
    """A run is taken out right after its End was emitted, on the loop's thread."""
    give_up = time.monotonic() + PATIENCE
    while loop.runs and time.monotonic() < give_up:
        time.sleep(0.001)
    assert loop.runs == 0


def grid(steps):
    return [level.t for level in LINEAR.levels(steps)[:-1]]
