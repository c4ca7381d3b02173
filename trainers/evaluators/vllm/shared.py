"""An evaluator whose engine is shared with other trials of this machine: it asks the process that holds the engine.

Trials of a LoRA sweep read the same base weights, so one engine serves them all, and each has an adapter of its own
there (`service`). This side knows no tensor. What is sent, rows and losses, goes through a Unix socket in a folder of
this user alone: it leaves neither the machine nor passes Ray, whose object store others can read.
"""

import fcntl
import hashlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedTokenizerBase

from trainers.config import ModelConfig, PerformanceConfig
from trainers.errors import EngineLost
from trainers.evaluators.base import Example
from trainers.evaluators.vllm.engine import longest_row
from trainers.evaluators.vllm.evaluator import VllmEvaluator
from trainers.evaluators.vllm.parameters import VllmParameters
from trainers.evaluators.vocabulary import constant_examples

JOIN = ("join", (), {})
"""The first request of a trial; its answer is the size of the model."""


class SharedEvaluator(VllmEvaluator):
    """A `VllmEvaluator` of a LoRA adapter whose engine other processes use as well; it starts the engine if none runs.

    Args:
        model, performance, tokenizer, seed: as for `VllmEvaluator`; who gives equal ones, on the same devices, shares.

    Raises:
        ValueError: the engine cannot be started with this model.
        EngineLost: the engine ended. Every method may raise it.
    """

    def __init__(
        self, model: ModelConfig, performance: PerformanceConfig, tokenizer: PreTrainedTokenizerBase, *, seed: int
    ) -> None:
        shape = AutoConfig.from_pretrained(model.path, trust_remote_code=False)
        self._model, self._performance, self._seed = model, performance, seed
        self._tokenizer, self._reference = tokenizer, False
        self._constants = constant_examples(tokenizer, model.head)
        self._longest = longest_row(performance, shape)
        self._places = getattr(shape.get_text_config(), "max_position_embeddings", None)
        self._link: Connection | None = None
        self._link, self.model_size = _joined(model, performance, tokenizer, seed)
        self.parameters = VllmParameters(self._rpc)

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def generate(self, batch: Sequence[Example], max_new_tokens: int) -> list[str]:
        self._require_positions(batch)
        return self._ask("generate", (list(batch), max_new_tokens), {})

    def _rpc(self, method: str, *arguments: Any, **named: Any) -> Any:
        return self._ask("_rpc", (method, *arguments), named)

    def _ask(self, *request: Any) -> Any:
        assert self._link is not None
        return asked(self._link, request)


def asked(link: Connection, request: Any) -> Any:
    """Send a request to the engine's process, and return the answer; raise it if it is an error."""
    try:
        link.send(request)
        answer = link.recv()
    except (EOFError, OSError) as error:
        raise EngineLost("the process of the shared engine has ended; start again to go on from the log") from error
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextmanager
def locked(address: Path) -> Iterator[None]:
    """Let nobody else start, join or end the engine of an address within a block."""
    with address.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _joined(
    model: ModelConfig, performance: PerformanceConfig, tokenizer: PreTrainedTokenizerBase, seed: int
) -> tuple[Connection, int]:
    """Join the engine, which is started if there is none; return the connection and the size of the model."""
    address = _address(model, performance, seed)
    with locked(address):
        try:
            link = Client(str(address), "AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):
            address.unlink(missing_ok=True)
            _start(address, pickle.dumps((model, performance, tokenizer, seed)))
            link = Client(str(address), "AF_UNIX")
        return link, asked(link, JOIN)


def _address(model: ModelConfig, performance: PerformanceConfig, seed: int) -> Path:
    """Return the socket of the engine for these settings on the visible devices, in a folder of this user alone."""
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"dpzo-engines-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o077:
        raise ValueError(f"performance.vllm.shared: {folder} must belong to this user alone: remove it, or chmod 700")
    written = max((file.stat().st_mtime_ns for file in Path(model.path).glob("*")), default=0)
    settings = [model.model_dump(mode="json"), performance.model_dump(mode="json"), seed, written]
    told = json.dumps([*settings, os.environ.get("CUDA_VISIBLE_DEVICES")], sort_keys=True)
    return folder / f"{hashlib.blake2b(told.encode(), digest_size=8).hexdigest()}.sock"


def _start(address: Path, settings: bytes) -> None:
    """Start the engine's process, which outlives this one, and wait until it is ready."""
    answers, answer = os.pipe()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "trainers.evaluators.vllm.service", str(address), str(answer)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, pass_fds=[answer], env=environment, start_new_session=True
    ) as starting:
        os.close(answer)
        starting.communicate(settings)
    with open(answers, "rb") as file:
        told = file.read()
    if not told:
        raise EngineLost("the process of the shared engine ended before it was ready")
    if (error := pickle.loads(told)) is not None:
        raise error
