"""The batch loop: one thread makes the network's evaluations for every run that is going on.

A run is a Process (see `sampler`) that asks for rows to be evaluated. Each round the loop takes rows of the waiting runs of
one model, makes one call for all of them, and hands every run its own; runs join and leave between two calls. Nothing in
here knows what the rows are for, nor who shows them.
"""

import atexit
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.sampler import Moved, Process, Query, Report, Step
from ddim_app.engine.row_batches import inputs, joined, moved_together, note_peaks
from ddim_app.engine.tickets import Emit, End, Evaluator, Halt, Portion, Ticket
from ddim_app.engine.turns import Turns
from ddim_app.lazy import Tensor, torch
from ddim_app.models.memory import is_out_of_memory

log = logging.getLogger(__name__)
T = TypeVar("T")


class BatchLoop:
    """Evaluates the rows of all live runs together, on a thread of its own that starts with the first run.

    Without `threaded` (in a forked process, say) nothing happens but in `round`, which the waiting caller repeats. `prepare`
    is called first on the new thread.

    `max_rows` bounds the rows of one call; for a group that runs out of memory it is halved, and stays so. Rows are dealt by
    `turns`, so a run of a thousand steps delays one of ten by no more than its share.
    """

    def __init__(
        self,
        max_rows: int = BUCKETS[-1],
        threaded: bool = True,
        prepare: Callable[[], None] = lambda: None,
        turns: Turns | None = None,
    ) -> None:
        self.max_rows = max_rows
        self.threaded = threaded
        self.calls = 0
        """Evaluator calls made so far."""
        self.evaluations = 0
        """Rows evaluated so far."""
        self._prepare = prepare
        self._wake = threading.Condition()
        self._errands: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._live: list[Ticket] = []
        self._turns = turns or Turns()
        self._working = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self._pid = os.getpid()

    def join(self, process: Process, networks: Sequence[Evaluator], emit: Emit, background: bool = False) -> Ticket:
        """Starts a run, whose queries name `networks` by their places. `emit` gets the run's reports, then one End."""
        ticket = Ticket(process, networks, emit, turn=self.calls, background=background)
        with self._wake:
            if self._closed:
                raise RuntimeError("the server is shutting down")
            self._live.append(ticket)
            self._begin()
        return ticket

    def call(self, function: Callable[..., T], *values: Any) -> T:
        """What `function(*values)` returns or raises when it is called between two network calls, on the loop's thread."""
        if not self.threaded or threading.current_thread() is self._thread:
            return function(*values)
        answer: Future[T] = Future()
        with self._wake:
            if self._closed:
                raise RuntimeError("the batch loop is closed")
            self._errands.append((answer, lambda: function(*values)))
            self._begin()
        return answer.result()

    def _begin(self) -> None:
        if self._pid != os.getpid():  # a forked child has the parent's state, but not its thread
            self._thread, self._pid = None, os.getpid()
        if self.threaded and not (self._thread and self._thread.is_alive()):
            self._thread = threading.Thread(target=self._serve, name="batch-loop", daemon=True)
            self._thread.start()
            # A process that ends while the thread is inside torch aborts, so it waits for the call under way.
            atexit.register(self.close)
        self._wake.notify()

    def leave(self, ticket: Ticket) -> None:
        """Ends a run before its time; at most the call under way is still made for it, and its frames may still be told."""
        with self._wake:
            if ticket in self._live:
                self._live.remove(ticket)

    def close(self) -> None:
        """Drops all runs and waits for the network call under way; the loop makes no other."""
        with self._wake:
            self._closed = True
            left = list(self._live)
            while self._errands:
                self._errands.popleft()[0].cancel()
            self._wake.notify()
        for ticket in left:
            self._end(ticket, "The server is shutting down")
        if self._thread is not None:
            self._thread.join()

    @property
    def runs(self) -> int:
        """How many runs are going on."""
        return len(self._live)

    @property
    def busy(self) -> bool:
        """Whether a network call is being made, for a run or an errand, or its rows handed out."""
        return self._working

    def _serve(self) -> None:
        self._prepare()
        while not self._closed:
            try:
                self._take_turns()
            except BaseException as error:  # whatever it is, the thread must live: all runs depend on it
                log.exception("the batch loop failed")
                for ticket in list(self._live):
                    self._end(ticket, f"The run failed: {_sentence(error)}")

    def _take_turns(self) -> None:
        """Works until the loop is closed: a function of its own, since a thread is most often interrupted where it jumps back."""
        while not self._closed:
            self._take_turn()

    def _take_turn(self) -> None:
        """Waits until there is something to do, and does the next piece of it."""
        with self._wake:
            while not self._live and not self._errands and not self._closed:
                self._wake.wait()
            if self._closed:
                return
            self._working, errand = True, self._errands.popleft() if self._errands else None
        if errand is not None:
            _run(*errand)
        self.round()

    def round(self) -> None:
        """One network call for the runs that are going on."""
        with self._wake:
            live = list(self._live)
            self._working = bool(live)
        for ticket in live:
            if ticket.query is None:
                self._advance(ticket, None)
        try:
            portions = self._turns.deal([ticket for ticket in live if ticket.asked], self.max_rows)
            if portions:
                self._call(portions)
            else:
                self._tell_all(live)
        finally:
            self._working = False

    def _call(self, portions: Sequence[Portion]) -> None:
        network, began = portions[0].ticket.network, time.perf_counter()
        try:
            outputs = torch.split(output := network.predict(*inputs(portions)), [len(portion.t) for portion in portions])
            note_peaks(portions, output)
            # A GPU is at work on this call now: what the call before made is told meanwhile.
            self._tell_all(list(self._live))
            failure = None
        except Exception as error:  # a failing network must not take the loop with it
            failure = error
        self.calls += 1
        size = sum(len(p.t) for p in portions)
        if failure is None:
            self.evaluations += size
            for portion, answer in self._answers(portions, outputs):
                portion.ticket.sizes.add(size)
                portion.ticket.shared |= len(portions) > 1
                portion.ticket.evaluations += len(portion.t)
                self._hand_over(portion.ticket, answer, len(portion.t))
            network.observe(time.perf_counter() - began, size)
        elif is_out_of_memory(failure) and size > portions[0].least:  # outside `except`, whose traceback would pin the tensors
            self._turns.halve(network.group, size)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        else:
            log.error("network call failed", exc_info=failure)
            for portion in portions:
                self._end(portion.ticket, f"The network could not be evaluated: {_sentence(failure)}")

    def _answers(self, portions: Sequence[Portion], outputs: Sequence[Tensor]) -> list[tuple[Portion, Tensor | Moved]]:
        """What each portion's run is sent: the output, or its rows after their transition, those of all runs made together."""
        answers = dict(enumerate[Tensor | Moved](outputs))
        kinds = {portion.kind for portion in portions} - {None}
        for kind in kinds:
            chosen = [i for i, portion in enumerate(portions) if portion.kind == kind]
            try:
                moved = moved_together([portions[i] for i in chosen], [outputs[i] for i in chosen])
            except Exception:  # one run's noise could not be drawn, say; the others are not to suffer
                moved = []
                for i in chosen:
                    try:
                        moved += moved_together([portions[i]], [outputs[i]])
                    except Exception as error:
                        log.error("run failed", exc_info=error)
                        self._end(portions[i].ticket, f"The run failed: {_sentence(error)}")
                        del answers[i]
                chosen = [i for i in chosen if i in answers]
            answers |= zip(chosen, moved, strict=True)
        return [(portions[i], answer) for i, answer in answers.items()]

    def _hand_over(self, ticket: Ticket, answer: Tensor | Moved, rows: int) -> None:
        ticket.turn = self.calls
        ticket.outputs.append(answer)
        ticket.asked -= rows
        if not ticket.asked:
            whole = joined(ticket.outputs)
            ticket.unread += ticket.peaks
            ticket.outputs, ticket.peaks = [], []
            # A process waits for an output anyway; rows that were advanced are judged when their step is told.
            if isinstance(whole, torch.Tensor) and (fault := ticket.fault()):
                return self._end(ticket, fault)
            self._advance(ticket, whole)

    def _advance(self, ticket: Ticket, output: Tensor | Moved | None) -> None:
        """Runs a process up to its next query, emitting the steps it reports on the way."""
        try:
            item = next(ticket.process) if output is None else ticket.process.send(output)
            while not isinstance(item, Query):
                if isinstance(item, Step) and item.copy is not None:
                    ticket.on_their_way.append(item)
                elif not self._tell(ticket, item):
                    return
                item = next(ticket.process)
            ticket.query, ticket.asked = item, len(item.t)
        except StopIteration:
            if self._arrive(ticket):
                self._end(ticket, None)
        except Halt as halt:
            if self._arrive(ticket):
                self._end(ticket, str(halt))
        except Exception as error:  # one run's fault must not end the others'
            log.error("run failed", exc_info=error)
            self._end(ticket, f"The run failed: {_sentence(error)}")

    def _tell_all(self, tickets: Sequence[Ticket]) -> None:
        """Tells of the steps whose pictures were on their way."""
        for ticket in tickets:
            try:
                self._arrive(ticket)
            except Exception as error:  # one run's fault must not end the others'
                log.error("run failed", exc_info=error)
                self._end(ticket, f"The run failed: {_sentence(error)}")

    def _arrive(self, ticket: Ticket) -> bool:
        """Tells of a run's steps that were on their way; False when the run has ended by that."""
        steps, ticket.on_their_way = ticket.on_their_way, []
        return all(self._tell(ticket, step.on_host()) for step in steps)

    def _tell(self, ticket: Ticket, item: Report) -> bool:
        """Emits a report after those before it; False when the run has ended by that."""
        if not self._arrive(ticket):
            return False
        if fault := ticket.fault(item):
            self._end(ticket, fault)
            return False
        self._emit(ticket, item)
        return True

    def _emit(self, ticket: Ticket, item: Report | End) -> None:
        if ticket in self._live:
            ticket.emit(item)

    def _end(self, ticket: Ticket, error: str | None) -> None:
        try:
            self._emit(ticket, End(error, frozenset(ticket.sizes), ticket.shared))
        except Exception as gone:  # a reader that is gone, such as a page whose event loop was closed
            log.warning("the end of a run could not be told: %s", gone)
        self.leave(ticket)


def _run(answer: "Future[T]", function: Callable[[], T]) -> None:
    try:
        answer.set_result(function())
    except BaseException as error:  # belongs to whoever waits for the answer
        answer.set_exception(error)


def _sentence(error: BaseException) -> str:
    if is_out_of_memory(error):
        return "out of memory: take fewer pictures or a smaller batch, or try again later"
    return (str(error).strip().split("\n")[0] or type(error).__name__)[:200]
