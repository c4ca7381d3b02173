"""Speed, which is kept apart so that it can change neither the mechanism nor its event."""

from __future__ import annotations

from pydantic import Field

from trainers.sections import Count, Section


class PerformanceConfig(Section):
    """Speed only: nothing here can change the mechanism, its event or, beyond rounding, a loss."""

    micro_batch_tokens: Count = Field(default=4096, description="Largest padded size of one forward pass, tokens.")
    num_threads: Count | None = Field(default=None, description="CPU threads of one run; all cores when absent.")
    device: str = Field(default="cpu", description="torch device, 'cpu' or 'cuda'.")
    snapshot_steps: Count | None = Field(
        default=None,
        description="Steps between snapshots of the weights. Of a first-order run a kill loses the steps after the "
        "last one (50 when absent); a zeroth-order run only replays its log the faster (1000 when absent).",
    )
