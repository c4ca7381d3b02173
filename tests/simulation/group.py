"""The ranks of a run as threads, of which one runs at a time, and what stands for gloo and for Ray Train below them.

Which rank goes on is drawn from the machine's seed. `GlooGroup`, its seals and `Ranks` are real; below them a message
is an operation of the machine, and a rank that waits for one that has ended is told so, as over gloo.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch.distributed

from tests.simulation.machine import Machine
from trainers.workers import ray_worker
from trainers.workers.ranks import Ranks

Line = tuple[str, int, int]  # group, sender, receiver
_here = threading.local()  # group and rank of a thread


def this_rank() -> int:
    """Return the rank whose thread this is; 0 in a process without ranks."""
    return getattr(_here, "rank", 0)


class Group:
    """Ranks that do a job together.

    Args:
        size: number of ranks.
    """

    def __init__(self, machine: Machine, size: int) -> None:
        self.machine, self.size = machine, size
        self.is_stuck = False
        self._messages: defaultdict[Line, deque[torch.Tensor]] = defaultdict(deque)
        self._awaited: dict[int, Line | None] = dict.fromkeys(range(size))
        self._turns = [threading.Semaphore(0) for _ in range(size)]
        self._all_ended = threading.Semaphore(0)

    def run(self, job: Callable[[], Any]) -> list[Any]:
        """Return what the job returned, or the error that ended it, by rank."""
        outcomes: list[Any] = [None] * self.size
        threads = [threading.Thread(target=self._live, args=(rank, job, outcomes)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        self._pass_on()
        self._all_ended.acquire()
        for thread in threads:
            thread.join()
        self.machine.lost -= {thread.ident for thread in threads}
        return outcomes

    def send(self, line: Line, message: torch.Tensor) -> None:
        """Send a message; who sends to a rank that has ended hears of it at once, or never."""
        self.machine.operate("message")
        if line[2] not in self._awaited and self.machine.random.random() < 0.5:
            raise RuntimeError("Connection closed by peer")
        self._messages[line].append(message.clone())
        self._wait(line[1], None)

    def receive(self, line: Line, message: torch.Tensor) -> None:
        self._wait(line[2], line)
        if not self._messages[line]:
            raise RuntimeError("Connection closed by peer")
        message.copy_(self._messages[line].popleft())

    def _wait(self, rank: int, line: Line | None) -> None:
        """Let others run; go on when a message has come on a line, or cannot come any more."""
        self._awaited[rank] = line
        self._pass_on()
        self._turns[rank].acquire()
        self.machine.require_alive()

    def _pass_on(self) -> None:
        able = [rank for rank, line in self._awaited.items() if self._can_run(line)]
        if not able and self._awaited:
            self.is_stuck, able = True, sorted(self._awaited)
        if able:
            self._turns[self.machine.random.choice(able)].release()
        else:
            self._all_ended.release()

    def _can_run(self, line: Line | None) -> bool:
        return line is None or bool(self._messages[line]) or line[1] not in self._awaited

    def _live(self, rank: int, job: Callable[[], Any], outcomes: list[Any]) -> None:
        _here.group, _here.rank = self, rank
        self._turns[rank].acquire()
        try:
            outcomes[rank] = job()
        except BaseException as error:  # noqa: BLE001 - the ranks' driver judges it
            outcomes[rank] = error
        del self._awaited[rank]
        self._pass_on()


class SimulatedGloo:
    """Stands for torch's `ProcessGroupGloo`: the same calls, which send and receive on the lines of a `Group`."""

    _Options = SimpleNamespace
    create_device = staticmethod(lambda hostname: None)

    def __init__(self, meeting: tuple[str, Sequence[int]], rank: int, size: int, options: Any) -> None:
        self._name, self._ranks = meeting
        self._rank, self._size, self._group = rank, size, _here.group

    def send(self, messages: list[torch.Tensor], to: int, tag: int) -> SimpleNamespace:
        self._group.send(self._line(self._rank, to), messages[0])
        return _DONE

    def recv(self, messages: list[torch.Tensor], sender: int, tag: int) -> SimpleNamespace:
        self._group.receive(self._line(sender, self._rank), messages[0])
        return _DONE

    def broadcast(self, messages: list[torch.Tensor], options: Any) -> SimpleNamespace:
        for other in range(1, self._size) if self._rank == 0 else ():
            self.send(messages, other, 0)
        return _DONE if self._rank == 0 else self.recv(messages, 0, 0)

    def gather(self, outputs: list[list[torch.Tensor]], inputs: list[torch.Tensor], options: Any) -> SimpleNamespace:
        if self._rank > 0:
            return self.send(inputs, 0, 0)
        outputs[0][0].copy_(inputs[0])
        for other in range(1, self._size):
            self.recv([outputs[0][other]], other, 0)
        return _DONE

    def _line(self, sender: int, receiver: int) -> Line:
        return self._name, self._ranks[sender], self._ranks[receiver]


_DONE = SimpleNamespace(wait=lambda timeout: None)


def _met(name: str, _store: None) -> tuple[str, Sequence[int]]:
    """Stand for torch's `PrefixStore`: return a group's name and its ranks among all."""
    first = 0 if name == "all" else int(name.removeprefix("group-"))
    return name, range(first, _here.group.size)


def _meet(config: Any) -> Ranks:
    size = _here.group.size
    if size == 1:
        return Ranks()
    key = bytes(range(32))  # of a group that nobody listens to
    return Ranks.meet(None, key, _here.rank, size, group_size=config.resources.group_size(size), address="")


class InlineRay:
    """Stands for `ray` in the process that starts workers: it calls at once, in this process."""

    class _Remote:
        def __init__(self, call: Callable[..., Any]) -> None:
            self.remote = call

        def options(self, **_: Any) -> InlineRay._Remote:
            return self

    get = staticmethod(lambda answer: answer)
    get_runtime_context = staticmethod(lambda: SimpleNamespace(gcs_address=""))

    @staticmethod
    def remote(**_: Any) -> Callable[[Callable[..., Any]], _Remote]:
        return InlineRay._Remote


class InlineMailbox:
    """Stands for the mailbox of a group that runs one task."""

    def __init__(self) -> None:
        self._error: Exception | None = None
        self.fail = InlineRay._Remote(self._fail)
        self.error = InlineRay._Remote(lambda: self._error)

    @classmethod
    def remote(cls) -> InlineMailbox:
        return cls()

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error


def replace_workers(machine: Machine, on_loss: Callable[[Any, Group, list[Any]], None], setattr_: Any) -> None:
    """Put threads in the place of Ray Train's workers; `on_loss` hears of each group that has lost a rank."""

    def fit(task: Any, config: Any, name: str, storage_path: Any, mailbox: Any) -> Any:
        resources = config.resources
        for _ in range(ray_worker.MAX_RESTARTS + 1):
            group = Group(machine, machine.random.randint(resources.workers, resources.most_workers))
            outcomes = group.run(lambda: ray_worker._live(task, config, mailbox))
            machine.require_alive()
            if not any(isinstance(outcome, BaseException) for outcome in outcomes):
                return outcomes[0]
            on_loss(config, group, outcomes)
        raise RuntimeError("the workers were lost too often")

    setattr_(torch.distributed, "ProcessGroupGloo", SimulatedGloo)
    setattr_(torch.distributed, "PrefixStore", _met)
    setattr_("trainers.workers.mailbox.Mailbox", InlineMailbox)
    for name, replacement in {"ray": InlineRay, "_fit": fit, "_meet": _meet}.items():
        setattr_(ray_worker, name, replacement)
