"""The `resources` section: how many workers take the steps of a run, what each needs, and how they divide the work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainers.config.sections import Count, Positive, Section


class ResourcesConfig(Section):
    """Machines only: nothing here can change the mechanism or its event, and nothing identifies the run."""

    workers: Count = Field(
        default=1,
        description="Processes that take the steps of one run (one trial of a sweep) together, through Ray Train.",
    )
    max_workers: Count | None = Field(
        default=None,
        description="Elastic: between `workers` and this number, as machines come and go. The release log is the only "
        "state.",
    )
    parallel: Literal["data", "directions"] = Field(
        default="data",
        description="What workers divide: the examples (at most 24 · K + 8 bytes a step), or each batch's probes, "
        "which suits small batches and many directions (16 · K bytes a drawn example more).",
    )
    direction_workers: Count | None = Field(
        default=None,
        description="Both together: the examples are divided among groups of this many workers, and each group divides "
        "its probes.",
    )
    step_patience_s: Positive = Field(
        default=600.0,
        description="Least seconds to wait for a worker in a step before it counts as lost and all are started again; "
        "doubled until it is 8 times the longest step so far. The first step has 2 hours. Choose it far above any "
        "step, since the release log shows that a step was given up.",
    )
    cpus_per_worker: Positive | None = Field(
        default=None, description="CPU cores of a worker; performance.num_threads, or 1, when absent."
    )
    gpus_per_worker: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="GPUs of a worker; a fraction if several workers share one."
    )
    accelerator: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] | None = Field(
        default=None, description="Type of the GPUs, by Ray's name (`L4`, `A100`, `H100`); any type when absent."
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="Nodes to use, by Ray's labels, such as `ray.io/market-type: on-demand`; also `!value` and "
        "`in(one,other)`.",
    )
    check_steps: Count = Field(
        default=200,
        description="Steps between comparisons of the workers' weights; a worker that differs is rebuilt from the log.",
    )

    @model_validator(mode="after")
    def _fit_together(self) -> ResourcesConfig:
        if self.max_workers is not None and self.max_workers < self.workers:
            raise ValueError(
                f"max_workers {self.max_workers} is below workers {self.workers}, the fewest to go on with"
            )
        if self.accelerator is not None and not self.gpus_per_worker:
            raise ValueError(f"accelerator {self.accelerator} is a type of GPU: give gpus_per_worker too")
        if self.direction_workers is None:
            return self
        if self.parallel == "directions":
            raise ValueError("parallel: directions makes one group of all workers: leave direction_workers out")
        if self.max_workers is not None:
            raise ValueError("direction_workers needs a fixed number of groups: leave max_workers out")
        if self.workers % self.direction_workers:
            raise ValueError(f"workers {self.workers} is no multiple of direction_workers {self.direction_workers}")
        return self

    @property
    def most_workers(self) -> int:
        return self.max_workers or self.workers

    @property
    def is_distributed(self) -> bool:
        """Whether a run is taken by Ray Train's workers, and not in one process of its own."""
        return self.most_workers > 1

    def group_size(self, workers: int) -> int:
        """Return how many of `workers` see the same batch."""
        return workers if self.parallel == "directions" else self.direction_workers or 1
