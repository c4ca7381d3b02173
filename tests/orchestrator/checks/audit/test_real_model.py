import trainers.run.step
from orchestrator.checks.audit.real_model import replay_real_model


def test_one_example_moves_a_real_model_by_the_clip_and_rounding(tmp_path):
    found = replay_real_model(tmp_path)
    assert found.findings == []
    assert 0.99 < found.largest_shift < 1.0 + found.rounding
    assert found.rounding < 0.05


def test_a_mistake_shows_on_a_real_model(tmp_path, monkeypatch):
    true_sum = trainers.run.step.clipped_sum
    monkeypatch.setattr(trainers.run.step, "clipped_sum", lambda values_BK, plan: 2 * true_sum(values_BK, plan))
    found = replay_real_model(tmp_path)
    assert "the canary moved the sum by 2" in found.findings[0]
