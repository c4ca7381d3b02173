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


def test_noise_at_equal_epsilon_is_less_than_that_of_the_codes(benchmark):
    noise = benchmark("noise")
    setting = noise.Setting("full batch", 1.0, 1000, share=0.95)
    row = noise.compare(setting, 2.0, 1e-5)
    assert row.ours < row.opacus < row.of_code
    assert noise.less(9.0, 10.0) == "10.0%"
