import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from orchestrator.config.loading import load_run
from orchestrator.planning import work_estimate as module
from orchestrator.planning.work_estimate import (
    PASS_PER_PRODUCTS,
    SECONDS_PER_GRADIENT_VALUE,
    SECONDS_PER_PASS,
    SECONDS_PER_PERTURBED_PARAMETER,
    estimate,
)

TEXTS = ["good food", "very good service", "not good food", "food"]
SHAPES = {"model.embed_tokens.weight": [100, 8], "model.layers.0.weight": [8, 16], "lm_head.weight": [8, 100]}


@pytest.fixture
def run(tmp_path, settings):
    """Load one run with overrides; its model folder holds tensors and nothing else."""
    settings["model"]["path"] = str(tmp_path / "model")
    settings["data"]["validation"] = write(tmp_path, [{"text": text, "label": "bad"} for text in TEXTS])
    (tmp_path / "model").mkdir()
    tensors = {name: np.zeros(shape, dtype=np.float16) for name, shape in SHAPES.items()}
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    return lambda *overrides: load_run(settings, overrides)


def write(folder, rows) -> str:
    """Write public examples; return the file's path."""
    path = folder / "public.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine whose arithmetic is known."""
    monkeypatch.setattr(module, "_seconds_of_product", lambda shape, tokens: 2 * np.prod(shape) * tokens / 1e6)


@pytest.mark.parametrize(("name", "copies"), [("dp-sgd", 1 + 7), ("adamw", 2)])
def test_a_gradient_counts_as_three_passes(run, name, copies):
    noise = "" if name == "adamw" else ", noise_multiplier: 1.0"
    overrides = (f"method={{name: {name}}}", f"privacy={{expected_batch_size: 7{noise}}}")
    work = estimate(run(*overrides), 10, 1)
    assert (work.forward_passes, work.examples_forwarded) == (30, 210)
    without = estimate(run(*overrides, "model.trainable=lora"), 10, 1)
    assert work.seconds is not None
    assert without.seconds is not None
    total = sum(np.prod(shape) for shape in SHAPES.values())
    assert work.seconds - without.seconds == pytest.approx(10 * total * copies * SECONDS_PER_GRADIENT_VALUE)


def test_forward_passes_are_two_for_each_direction_and_step(run):
    work = estimate(run("method.num_directions=3", "privacy.expected_batch_size=7"), 10, 1)
    assert (work.forward_passes, work.examples_forwarded) == (60, 420)


def test_time_is_that_of_multiplying_perturbing_and_starting_a_pass(run):
    passes, words = 40, 1.4 * (4 + 5 + 5 + 3) / 4  # of "{text} It was" over the public examples
    multiplying = passes * 8 * words * 2 * 8 * 16 * PASS_PER_PRODUCTS / 1e6  # neither embedding nor head
    perturbing = 1.5 * passes * (100 * 8 + 8 * 16 + 8 * 100) * SECONDS_PER_PERTURBED_PARAMETER
    starting = passes * SECONDS_PER_PASS
    assert estimate(run(), 10, 1).seconds == pytest.approx(multiplying + perturbing + starting)
    assert estimate(run(), 10, 4).seconds == pytest.approx(multiplying + perturbing + starting / 4)
    assert estimate(run("model.trainable=lora"), 10, 1).seconds == pytest.approx(multiplying + starting)
    linear = 1.5 * passes * 8 * 16 * SECONDS_PER_PERTURBED_PARAMETER
    assert estimate(run("model.trainable=all-linear"), 10, 1).seconds == pytest.approx(multiplying + linear + starting)


@pytest.mark.parametrize(
    ("resources", "shards", "share"),
    [
        ("{workers: 4}", 4, 1),
        ("{workers: 4, parallel: directions}", 1, 4),
        ("{workers: 4, direction_workers: 2}", 2, 2),
    ],
)
def test_workers_share_examples_or_probes(run, monkeypatch, resources, shards, share):
    """Each shard is perturbed for by itself, and a group's first passes are divided."""
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    perturbing = 1.5 * 40 * (100 * 8 + 8 * 16 + 8 * 100) * SECONDS_PER_PERTURBED_PARAMETER
    multiplying = estimate(run(), 10, 1).seconds - perturbing - 40 * SECONDS_PER_PASS
    for cpus in (1, 3):
        work = estimate(run(f"resources={resources}", f"resources.cpus_per_worker={cpus}"), 10, 1)
        machines = 4 * cpus / 2
        expected = (multiplying + shards * perturbing) / machines + 40 * SECONDS_PER_PASS / share
        assert work.seconds == pytest.approx(expected)
        assert work.cpus_per_worker == cpus


def test_time_grows_with_the_steps(run):
    one, ten = (estimate(run(), steps, 1).seconds for steps in (1, 10))
    assert ten == pytest.approx(10 * one)


def test_examples_are_taken_to_be_as_long_as_allowed_where_none_is_public(run, tmp_path):
    alone = estimate(run("data.validation=null", "task.max_tokens=50"), 10, 1).seconds
    (tmp_path / "public.jsonl").unlink()  # so that reading it would fail
    private = run("score.on=private", "score.num_examples=12", "task.max_tokens=50")
    assert estimate(private, 10, 1).seconds == alone
    for elsewhere in ("hub:imdb", f"{tmp_path / 'missing.jsonl'}"):
        assert estimate(run(f"data.validation={elsewhere}", "task.max_tokens=50"), 10, 1).seconds == alone


def test_prompts_are_not_taken_to_be_longer_than_they_are_cut(run):
    cut, whole = (estimate(run(f"task.max_tokens={most}"), 10, 1).seconds for most in (2, 256))
    assert cut < whole


def test_a_column_is_filled_in_as_the_prompts_have_it(run, tmp_path):
    write(tmp_path, [{"text.of[0]": "good food", "label": "bad"}])
    assert estimate(run("task.template={text.of[0]} {{It}} was"), 10, 1).seconds > 0


def test_time_is_unknown_without_the_models_files(run, tmp_path):
    assert estimate(run("model.path=somebody/some-model"), 10, 1).seconds is None
    assert estimate(run("performance.device=cuda"), 10, 1).seconds is None
    (tmp_path / "model" / "model.safetensors").unlink()
    assert estimate(run(), 10, 1).seconds is None


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"])
def test_time_is_unknown_where_a_file_is_no_model(run, tmp_path, content):
    (tmp_path / "model" / "model.safetensors").write_bytes(content)
    assert estimate(run(), 10, 1).seconds is None


def test_an_unreadable_validation_file_is_called_by_its_name(run, tmp_path):
    write(tmp_path, [{"txt": "good food", "label": "bad"}])
    with pytest.raises(ValueError, match=r"^data\.validation: column 'text' is not in public\.jsonl"):
        estimate(run(), 10, 1)


def test_one_product_of_each_shape_is_measured(monkeypatch):
    monkeypatch.undo()
    assert module._seconds_of_product((96, 64), 32) > 0
    calls: list[tuple] = []
    monkeypatch.setattr(module, "_seconds_of_product", lambda *call: calls.append(call) or 2.0)
    assert module._seconds_per_token([(8, 4), (8, 4), (4, 8)], 16) == PASS_PER_PRODUCTS * 3 * 2.0 / 16
    assert calls == [((8, 4), 16), ((4, 8), 16)]


def test_a_time_without_public_rows_is_an_upper_bound(run):
    assert not estimate(run(), 10, 1).is_upper_bound
    assert estimate(run("data.validation=null"), 10, 1).is_upper_bound
