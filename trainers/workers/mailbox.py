"""The mailbox between a group of workers and the process that started them: orders, answers, and one error."""

import asyncio
from typing import Any

import ray


@ray.remote(num_cpus=0)
class Mailbox:
    """A Ray actor of the process that starts the workers. It outlives groups of workers."""

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._order: tuple[int, Any] = (0, None)
        self._answer: tuple[int, Any] = (0, None)
        self._changed = asyncio.Condition()

    async def fail(self, error: Exception) -> None:
        """Store why the task of the workers failed. Only the first error is kept."""
        async with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    async def error(self) -> Exception | None:
        """Return why the task failed, or None."""
        return self._error

    async def order(self, order: Any) -> int:
        """Store the next order, and return its number."""
        async with self._changed:
            self._order = self._order[0] + 1, order
            self._changed.notify_all()
            return self._order[0]

    async def next_order(self, done: int) -> tuple[int, Any]:
        """Wait until there is an order after number `done`; return the number and content of the latest."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._order[0] > done)
            return self._order

    async def answer(self, number: int, answer: Any) -> None:
        async with self._changed:
            self._answer = number, answer
            self._changed.notify_all()

    async def answer_to(self, number: int) -> Any:
        """Wait for the answer to an order, and return it; raise the error of a task that failed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._error is not None or self._answer[0] == number)
            if self._error is not None:
                raise self._error
            return self._answer[1]
