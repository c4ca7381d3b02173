"""The benchmark of utility fills a tiny table by real runs, goes on where it stopped, and writes what it found."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """Return a module of the benchmarks, which are scripts beside each other."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_a_small_table(benchmark, tmp_path, monkeypatch, capsys):
    utility = benchmark("utility")
    asked = ["--methods", "zero-shot", "dp-zo", "--epsilon", "0.5", "--seeds", "2", "--num-steps", "3", "--no-search"]
    monkeypatch.setattr(sys, "argv", ["utility.py", "--task", "demo", "--work", str(tmp_path), *asked])
    utility.main()
    table = capsys.readouterr().out
    assert "| zero-shot |" in table
    assert "| DP-ZO, Gaussian |" in table
    lines = json.loads((tmp_path / "utility-demo.json").read_text())
    private = [line for line in lines if line["method"] == "dp-zo"]
    assert {line["seed"] for line in private} == {0, 1}
    for line in private:
        assert 0.49 < line["certified_epsilon"] <= 0.5
        assert line["settings"]["method"]["num_steps"] == 3
        assert line["settings"]["sampling_prob"] == pytest.approx(32 / 4000)
    assert (tmp_path / "utility-demo.svg").read_text().startswith("<?xml")

    def refuse(*_: object) -> None:
        raise AssertionError("a finished cell was run again")

    monkeypatch.setattr(utility, "trained", refuse)
    utility.main()
    assert capsys.readouterr().out == table


def test_the_search_sees_no_private_row(benchmark, tmp_path):
    cells = benchmark("utility_cells")
    family = ("demo", "full", "dp-zo")
    for cell in cells.searched([family], 2.0):
        config = cells.config_of(cell, 7, tmp_path, cell.factor)
        assert Path(config.data.train).name == "tuning.jsonl"
        assert Path(str(config.data.validation)).name == "held_out.jsonl"
    (cell, *_) = cells.tabulated([family], [2.0], 1)
    assert Path(cells.config_of(cell, 7, tmp_path, 1.0).data.train).name == "private.jsonl"
    train = set((tmp_path / "demo" / "tuning.jsonl").read_text().splitlines())
    held_out = set((tmp_path / "demo" / "held_out.jsonl").read_text().splitlines())
    private = set((BENCHMARKS.parent / "examples" / "demo" / "private.jsonl").read_text().splitlines())
    assert not private & train
    assert not train & held_out


def test_the_search_goes_on_past_an_end_of_its_grid_that_is_best(benchmark):
    beyond, ladder = benchmark("utility_cells").beyond, benchmark("utility_cells").LADDER
    scores = {0.3: 0.5, 1.0: 0.6, 3.0: 0.7}
    while (factor := beyond(scores)) is not None:
        scores[factor] = 0.9 - abs(factor - 30.0) / 1000
    assert list(scores) == [0.3, 1.0, 3.0, 10.0, 30.0, 100.0]
    assert beyond({0.3: 0.6, 1.0: 0.7, 3.0: 0.5}) is None
    assert beyond(dict.fromkeys(ladder[:2], 0.5)) is None
    assert beyond({0.3: 0.7, 1.0: 0.6}) == 0.1


def test_noise_at_equal_epsilon_is_less_than_that_of_the_codes(benchmark):
    noise = benchmark("noise")
    setting = noise.Setting("full batch", 1.0, 1000, share=0.95)
    row = noise.compare(setting, 2.0, 1e-5)
    assert row.ours < row.opacus < row.of_code
    assert noise.less(9.0, 10.0) == "10.0%"


def test_every_row_on_a_language_model_is_a_run_whose_search_sees_no_private_row(benchmark, tmp_path):
    module = benchmark("utility_lm")
    cells = list(module.cells_of(list(module.ROWS), [2.0], 1, list(module.FACTORS)))
    configs = [module.config_of(cell, 1.0, {"path": str(tmp_path / "model")}, tmp_path, 5) for cell in cells]
    files = {(cell.factor is None, Path(config.data.train).name) for cell, config in zip(cells, configs, strict=True)}
    assert files == {(False, "tuning.tsv"), (True, "private.tsv")}
    learns = [config for config in configs if config.uses_public_rows]
    assert learns
    assert {Path(str(config.data.public)).name for config in learns} == {"public.tsv"}


def test_the_parts_of_a_split_share_no_row(benchmark, tmp_path, monkeypatch):
    module = benchmark("utility_lm")
    monkeypatch.setattr(module, "PARTS", {"private": 4, "tuning": 3, "public": 2})
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "".join(f"row {n // 2}\t0\n" for n in range(40)))
    (tmp_path / "validation.tsv").write_text("sentence\tlabel\nx\t0\n")
    module.split(tmp_path, tmp_path)
    parts = [(tmp_path / f"{name}.tsv").read_text().splitlines()[1:] for name in module.PARTS]
    assert [len(part) for part in parts] == [4, 3, 2]
    assert len({row for part in parts for row in part}) == 9


def test_a_table_of_cells_marks_a_learning_rate_at_the_end_of_its_grid(benchmark):
    module = benchmark("utility_lm")
    tries = [{"row": "a", "epsilon": 2.0, "factor": factor, "score": factor / 100} for factor in module.FACTORS]
    runs = [{"row": "a", "epsilon": 2.0, "factor": None, "score": score} for score in (0.5, 0.6)]
    assert module.table([*tries, *runs], [2.0]).splitlines()[2] == "| a | 55.0 ± 7.1 (2) |  | 10* |"
