"""Public tuning (`search.tune_on`): trials on public rows, then one run that counts: docs/proofs/public_tuning.md."""

from orchestrator.config.models import SweepConfig
from orchestrator.planning.rules.caps import CapsPlan
from orchestrator.privacy.display import source_name
from trainers.config import RunConfig


class PublicTuningPlan(CapsPlan):
    """A plan of one private run, which caps count, after trials on public rows."""

    @classmethod
    def counts(cls, config: RunConfig) -> bool:
        return isinstance(config, SweepConfig) and config.search.tune_on is not None

    @classmethod
    def _num_private_trials(cls, config: RunConfig) -> int:
        return 1

    @property
    def rule_name(self) -> str:
        return "public tuning"

    @property
    def search_text(self) -> str:
        return f"{super().search_text}; then one private run"

    @property
    def _trials_text(self) -> str:
        return f"{self.num_trials} trials on public rows"

    @property
    def public_data(self) -> list[str]:
        assert isinstance(self.config, SweepConfig)
        assert self.config.search.tune_on is not None
        return [f"examples that all trials trained on ({source_name(self.config.search.tune_on)})"]
