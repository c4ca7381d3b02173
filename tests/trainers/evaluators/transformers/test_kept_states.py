"""States of lower layers that are kept from step to step: no bit of a loss changes, and new rows alone are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.models import save_model, tokenizer
from tests.support.runs import run_config
from trainers.config import ModelConfig, PerformanceConfig, RunConfig
from trainers.directions import Direction
from trainers.evaluators.base import Example, Probe
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.evaluators.transformers.forward import Forward

PROMPTS = [(2, *range(4, 4 + length)) for length in (3, 5, 3, 9, 5)]
HEADS = {"llama": "causal-lm", "gpt2": "causal-lm", "bert": "sequence-classification"}
BATCHES = [[0, 1, 2], [3, 1], [4, 0, 3, 2], [1], [0, 1, 2, 3, 4]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return {name: save_model(tmp_path_factory.mktemp(name), name, head) for name, head in HEADS.items()}


def opened(folder: Path, layers: Any, gigabytes: float) -> TransformersEvaluator:
    model = ModelConfig(path=str(folder), head=HEADS[folder.name[:-1]], layers=layers, dtype="bfloat16")  # pyright: ignore
    performance = PerformanceConfig(kept_states_gb=gigabytes)
    return TransformersEvaluator(model, performance, tokenizer(), num_labels=2, seed=0)


def example(folder: Path, number: int) -> Example:
    options = () if "bert" in folder.name else ((7,), (6,))
    return Example(PROMPTS[number], options, number % 2)


def steps(evaluator: TransformersEvaluator, folder: Path) -> list[np.ndarray]:
    """Return the losses of the probes of several steps, over batches that share rows; θ moves in between."""
    losses = []
    for step, batch in enumerate(BATCHES):
        z = Direction(1, step, 0, "gaussian")
        losses.append(evaluator.probe([example(folder, n) for n in batch], [Probe(z, 1e-2), Probe(z, -1e-2)]))
        evaluator.apply([(z, 0.02)])
    return losses


@pytest.mark.parametrize("gigabytes", [1.0, 3e-6])  # the second holds one or two rows
@pytest.mark.parametrize(
    ("name", "layers"), [("llama", "last-1"), ("llama", "head"), ("gpt2", [1]), ("bert", "last-1")]
)
def test_losses_have_the_bits_of_a_run_that_keeps_nothing(folders, name, layers, gigabytes):
    kept, without = (opened(folders[name], layers, limit) for limit in (gigabytes, 0.0))
    assert kept._states is not None
    assert without._states is None
    for of_kept, of_without in zip(steps(kept, folders[name]), steps(without, folders[name]), strict=True):
        assert np.array_equal(of_kept, of_without)
    assert 0 < kept._states._size <= gigabytes * 1e9
    assert (len(kept._states._states) == len(set(PROMPTS))) == (gigabytes == 1.0)


def test_lower_layers_read_new_rows_alone(folders):
    evaluator = opened(folders["llama"], "last-1", 1.0)
    reads: list[int] = []
    evaluator._lower._layers[0].self_attn.register_forward_hook(lambda *_: reads.append(1))  # pyright: ignore
    steps(evaluator, folders["llama"])
    # passes with new rows: lengths 3 and 5 fill one shape, 9 and 5 too; rows 4 and 2 are copies of 1 and 0
    assert len(reads) == 2


def test_states_of_a_poisoned_pass_are_not_kept(folders):
    evaluator, batch = opened(folders["llama"], "last-1", 1.0), [example(folders["llama"], 0)]
    probes = [Probe(Direction(1, 0, 0, "gaussian"), 1e-2)]
    with evaluator.poisoned({*range(64)} - {5}) as token:
        assert token == 5
        assert np.isnan(evaluator.probe(batch, probes)).all()
    assert np.isfinite(evaluator.probe(batch, probes)).all()
    with evaluator.poisoned({*range(64)} - {5}):
        assert np.isnan(evaluator.probe(batch, probes)).all()


def test_where_neighbours_change_a_state_none_is_kept(folders, monkeypatch, caplog):
    passes = Forward.passes

    def coupled(self: Forward, rows: Any) -> Any:
        return [batch for batch in passes(self, rows) if not batch.input_ids_RL.add_(len(rows) - 1).numel() < 0]

    monkeypatch.setattr(Forward, "passes", coupled)
    assert opened(folders["llama"], "last-1", 1.0)._states is None
    assert "performance.kept_states_gb: a row's neighbours change its states" in caplog.text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "set model.layers"),
        ({"model__layers": "last-1"}, "in float32 a row's neighbours change its last bits"),
        (
            {"model__layers": "last-1", "model__dtype": "bfloat16", "performance__evaluator": "vllm"},
            "performance.evaluator: transformers",
        ),
    ],
)
def test_it_is_refused_where_bits_would_change(changes, line):
    assert isinstance(run_config(**changes), RunConfig)
    with pytest.raises(ValueError, match=line):
        run_config(**changes, performance__kept_states_gb=1.0)


def test_states_go_with_the_evaluator(folders):
    evaluator = opened(folders["llama"], "last-1", 1.0)
    steps(evaluator, folders["llama"])
    state = next(iter(evaluator._states._states.values()))  # pyright: ignore[reportOptionalMemberAccess]
    assert state.dtype == torch.bfloat16
    evaluator.close()
    assert not hasattr(evaluator, "_states")
