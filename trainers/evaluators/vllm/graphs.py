"""Forward passes that are launched once and then replayed as CUDA graphs.

The rows of a batch stay while 2K probes are read, and only the weights move. A graph reads weights where they lie, so
one pass over the rows is captured, and replayed for the other probes: a GPU then waits for no Python. The runner still
prepares each pass (tokens, places, blocks) in its own buffers, which is what the graph reads; only the launch of the
model is replaced, and eager passes share all else. vLLM 0.33's `vllm bench forward` captures in the same way.

A graph lives as long as one batch is read: nothing that is captured outlives its rows.
"""

import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

Capture = Callable[[Callable[[], torch.Tensor]], Callable[[], torch.Tensor]]
"""Runs and captures a forward pass; returns what repeats it and gives the tensor that it writes."""


class Launches:
    """Calls of a runner's model: within `repeating`, a pass that equals an earlier one is replayed.

    Args:
        model: the runner's; its `forward` is replaced.
        capture: of a pass.
    """

    def __init__(self, model: Any, capture: Capture) -> None:
        self._forward, self._capture = model.forward, capture
        self._captured: dict[Hashable, Callable[[], torch.Tensor]] = {}
        self._repeats, self._rows = False, None
        model.forward = self._launch

    @contextmanager
    def repeating(self) -> Iterator[None]:
        """Capture passes within a block, each at its first launch, and drop them at its end."""
        self._repeats = True
        try:
            yield
        finally:
            self._repeats = False
            self._captured.clear()

    def of_rows(self, rows: Hashable) -> None:
        """Say what the next pass reads: passes over equal rows and adapters are equal."""
        self._rows = rows if self._repeats else None

    def _launch(self, *inputs: Any, **named: Any) -> Any:
        rows, self._rows = self._rows, None
        if rows is None:
            return self._forward(*inputs, **named)
        if rows not in self._captured:
            self._captured[rows] = self._capture(partial(self._forward, *inputs, **named))
        return self._captured[rows]()


def cuda_graphs(device: torch.device) -> Capture:
    """Return what captures passes on a GPU."""
    return partial(_captured, device, torch.cuda.graph_pool_handle())


def _captured(device: torch.device, pool: Any, run: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """Capture a pass after it ran once, and check that the graph gives the same bits; else launch it each time."""
    from vllm.distributed.parallel_state import graph_capture
    from vllm.forward_context import get_forward_context, override_forward_context

    context = get_forward_context()  # with what the attention reads; kept as long as the graph
    try:
        with override_forward_context(context), graph_capture(device) as capturing:
            expected = run().clone()  # kernels set themselves up at their first launch
            capturing.stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=capturing.stream, pool=pool):
                output = run()
    except RuntimeError as error:
        warnings.warn(f"a pass cannot be captured, and is launched each time: {error}", stacklevel=2)
        return run
    graph.replay()
    if not torch.equal(output.nan_to_num(), expected.nan_to_num()):
        warnings.warn("a captured pass gives other bits, and is launched each time", stacklevel=2)
        return run

    def replay() -> torch.Tensor:
        assert context  # held: the graph reads its tensors
        graph.replay()
        return output

    return replay
