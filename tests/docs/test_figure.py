"""The figure of a search's cost shows the quickstart's ε, which README.md prints too."""

from docs.generate.search_cost import DELTA, FIGURE, caps_of
from orchestrator.config.loading import load_sweep
from orchestrator.privacy.display import epsilon_text
from tests.docs.pages import ROOT, text_of


def test_the_figure_is_of_the_quickstart(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load_sweep("examples/quickstart.yaml")
    step = caps_of(config.search.num_trials).train_step
    assert step.num_steps == config.planned_steps
    assert step.sampling_prob == config.privacy.expected_batch_size / config.data.num_examples
    assert config.privacy.delta == DELTA
    assert f"total ε = {epsilon_text(caps_of(10).epsilon(DELTA))} at" in text_of("README.md")
    assert "the quickstart: ε = 3.0" in FIGURE.read_text(encoding="utf-8")
