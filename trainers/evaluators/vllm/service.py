"""The process that holds an engine for several trials, and answers them in turns.

Every trial has a connection, one adapter, and at most one request. Requests wait in a queue; one turn reads as many
probes as there are slots, and a trial with more goes to its end. So a trial waits for at most one turn of each other. A
trial that fails or is killed loses its connection, and its adapter is dropped: the others do not notice.

Where a row is rounded alike beside any neighbours (`performance.vllm.batch_invariant`), the probes of all waiting
trials are one batch. Elsewhere a turn reads one trial, in the passes that it would take alone: its losses are those of
an engine of its own, bit for bit, and no trial's rows move another's.

The process ends when no trial is connected for a while. `shared` starts it, by `python -m`.
"""

import os
import pickle
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

import numpy as np

from trainers.errors import DpzoError, note_origin
from trainers.evaluators.vllm.shared import locked

GRACE_S = 20.0
"""How long an engine without trials waits for the next one."""
_PROBE, _POISON = (("_rpc", "zo_call", method) for method in ("probe", "poison"))


class EngineFault(DpzoError, RuntimeError):
    """The shared engine failed at a request of this trial."""


@dataclass
class Request:
    """What a trial asks: a method of the evaluator; and the answer, when it is there."""

    trial: int
    method: str
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    parts: list[np.ndarray] = field(default_factory=list)
    answer: Any = None
    answered: Event = field(default_factory=Event)

    @property
    def is_probe(self) -> bool:
        return (self.method, *self.arguments[:2]) == _PROBE

    def rest(self, count: int) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return the batch of a request of probes, and the next probes, at most `count`."""
        batch, probes = self.arguments[2:]
        done = sum(map(len, self.parts))
        return batch, probes[done : done + count]

    def add(self, part: np.ndarray) -> bool:
        """Add losses of the next probes; return whether all are there."""
        self.parts.append(part)
        return sum(map(len, self.parts)) == len(self.arguments[3])

    def finish(self, answer: Any) -> None:
        self.answer = answer
        self.answered.set()


class EngineService:
    """Turns of the trials on one evaluator.

    Args:
        evaluator: a `VllmEvaluator` of a LoRA adapter.
        num_slots: adapters that the engine reads at once.
        mixes: whether one batch may hold rows of several trials.
    """

    def __init__(self, evaluator: Any, *, num_slots: int, mixes: bool) -> None:
        self._evaluator, self._num_slots, self._mixes = evaluator, num_slots, mixes
        self._arrived: Queue[Request] = Queue()
        self._waiting: deque[Request] = deque()
        self._connected: set[int] = set()
        self._poisoned: set[int] = set()  # their self-test made a token NaN, for them alone
        self._num_joined = 0

    def accept(self, listener: Listener) -> None:
        """Serve every connection in a thread of its own."""
        while True:
            connection = listener.accept()
            self._num_joined += 1
            self._connected.add(self._num_joined)
            Thread(target=self._serve, args=(connection, self._num_joined), daemon=True).start()

    def run(self, listener: Listener) -> None:
        """Take turns until no trial is connected; the caller's thread alone uses the engine."""
        last, address = time.monotonic(), Path(str(listener.address))
        while True:
            self._collect(timeout=0.0 if self._waiting else 1.0)
            if self._waiting:
                self._turn()
            if self._waiting or self._connected:
                last = time.monotonic()
            elif time.monotonic() - last > GRACE_S:
                with locked(address):  # nobody joins meanwhile
                    if not self._connected:
                        listener.close()
                        return

    def _serve(self, connection: Connection, trial: int) -> None:
        try:
            while True:
                method, arguments, named = connection.recv()
                request = Request(trial, method, arguments, named)
                self._arrived.put(request)
                request.answered.wait()
                connection.send(request.answer)
        except (EOFError, OSError):
            self._arrived.put(Request(trial, "leave", (), {}))
        finally:
            connection.close()

    def _collect(self, timeout: float) -> None:
        try:
            self._waiting.append(self._arrived.get(timeout=timeout) if timeout else self._arrived.get_nowait())
        except Empty:
            return
        while not self._arrived.empty():
            self._waiting.append(self._arrived.get())

    def _turn(self) -> None:
        """Answer the first request, or read its next probes, alone or with those of others that wait."""
        request = self._waiting.popleft()
        together = [request]
        if self._mixes and self._can_mix(request):
            together += [other for other in self._waiting if self._can_mix(other)][: self._num_slots - 1]
        try:
            if len(together) > 1:
                self._read_together(together)
            elif self._answer(request):
                return
        except Exception as error:  # noqa: BLE001 - it ends this request alone; an unknown one is told by its kind
            for each in together:
                each.finish(plain(error))
        self._waiting.extend(each for each in together[:1] if not each.answered.is_set())

    def _can_mix(self, request: Request) -> bool:
        return request.is_probe and request.trial not in self._poisoned

    def _answer(self, request: Request) -> bool:
        """Return whether the request is answered."""
        evaluator, trial = self._evaluator, request.trial
        if request.method == "join":
            evaluator._call("join", trial)
            request.finish(evaluator.model_size)
        elif request.method == "leave":
            evaluator._call("leave", trial)
            self._connected.discard(trial)
            self._poisoned.discard(trial)
        else:
            evaluator._call("select", trial)
            if request.is_probe:
                part = evaluator._call("probe", *request.rest(self._num_slots))
                if request.add(part):
                    request.finish(np.concatenate(request.parts))
                return request.answered.is_set()
            if (request.method, *request.arguments[:2]) == _POISON:
                (self._poisoned.discard if request.arguments[2] is None else self._poisoned.add)(trial)
            method = {"_rpc": evaluator._rpc, "generate": evaluator.generate}[request.method]
            request.finish(method(*request.arguments, **request.named))
        return True

    def _read_together(self, requests: Sequence[Request]) -> None:
        """Read the next probes of several trials as one batch; each has its share of the slots."""
        share = self._num_slots // len(requests)
        parts = [(request.trial, *request.rest(share)) for request in requests]
        self._evaluator._call("select", 0)
        for request, losses in zip(requests, self._evaluator._call("probe_together", parts), strict=True):
            if request.add(losses):
                request.finish(np.concatenate(request.parts))
        self._waiting = deque(each for each in self._waiting if not each.answered.is_set())


def plain(error: Exception) -> Exception:
    """Return an error that any process can read: of the first of these kinds, or an unknown one by its name alone."""
    for kind in (ValueError, OSError, IndexError):
        if isinstance(error, kind):
            told = kind(str(error))
            note_origin(told, error)
            return told
    return EngineFault(f"the shared engine failed with {type(error).__name__}; the other trials go on")


def main() -> None:
    """Hold the engine whose settings come on standard input; tell the given pipe when it is ready, or the error."""
    address, answers = Path(sys.argv[1]), int(sys.argv[2])
    settings = sys.stdin.buffer.read()
    if os.fork():  # a child of a lane would end with the lane
        os._exit(0)
    try:
        model, performance, tokenizer, seed = pickle.loads(settings)
        service = opened(model, performance, tokenizer, seed)
        listener = Listener(str(address), "AF_UNIX", backlog=128)
    except (ValueError, OSError) as error:
        os.write(answers, pickle.dumps(plain(error)))
        os._exit(1)
    os.write(answers, pickle.dumps(None))
    os.close(answers)
    Thread(target=service.accept, args=(listener,), daemon=True).start()
    service.run(listener)
    os._exit(0)


def opened(model: Any, performance: Any, tokenizer: Any, seed: int) -> EngineService:
    """Return the service of a new engine."""
    import torch

    from trainers.evaluators.vllm.adapters import DEFAULT_SLOTS
    from trainers.evaluators.vllm.evaluator import VllmEvaluator

    torch.set_num_threads(performance.num_threads or os.cpu_count() or 1)
    evaluator = VllmEvaluator(model, performance, tokenizer, num_labels=0, seed=seed)
    num_slots = performance.vllm.max_loras or DEFAULT_SLOTS
    return EngineService(evaluator, num_slots=num_slots, mixes=performance.vllm.batch_invariant)


if __name__ == "__main__":
    main()
