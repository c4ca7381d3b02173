"""The `performance` section: speed, kept apart so that it can change neither the mechanism nor its event."""

from typing import Literal

from pydantic import Field

from trainers.config.sections import Count, Section

EvaluatorName = Literal["transformers", "vllm"]


class VllmConfig(Section):
    """How the vLLM engine holds the model and scores; used with evaluator: vllm."""

    tensor_parallel: Count = Field(default=1, description="Devices that one copy of the model is split over.")
    memory_share: float = Field(
        default=0.9, gt=0.0, le=1.0, description="Share of a GPU's memory that the engine may take."
    )
    max_loras: Count | None = Field(
        default=None, description="Adapters held at once, one a probe; further probes wait. 8 when absent."
    )
    batch_invariant: bool = Field(
        default=False, description="Kernels whose rounding does not depend on the other examples of the batch; slower."
    )
    graphs: bool = Field(
        default=False, description="Replay a pass over the same rows as a CUDA graph while the weights move; one GPU."
    )
    shared: bool = Field(
        default=False, description="One engine for all trials of a machine that train LoRA over equal base weights."
    )
    scoring: Literal["fast", "reference"] = Field(
        default="fast", description="Logits of label rows alone, or the engine's own prompt_logprobs, as a reference."
    )


class PerformanceConfig(Section):
    """Speed only: nothing here can change the mechanism, its event or, beyond rounding, a loss."""

    micro_batch_tokens: Count = Field(default=4096, description="Largest padded size of one forward pass, tokens.")
    num_threads: Count | None = Field(default=None, description="CPU threads of one run; all cores when absent.")
    device: str = Field(default="cpu", description="torch device, 'cpu' or 'cuda'.")
    evaluator: EvaluatorName = Field(default="transformers", description="Which library computes the losses.")
    vllm: VllmConfig = Field(default_factory=VllmConfig, description="Used with evaluator: vllm.")
    kept_states_gb: float = Field(
        default=0.0,
        ge=0.0,
        allow_inf_nan=False,
        description="Memory, GB, for what the layers below those that move made of each row, kept from step to step. "
        "With model.layers, dtype bfloat16 and evaluator transformers.",
    )
    log: Literal["file", "database"] = Field(
        default="file",
        description="Where a line of the release log is durable before it is used: in the run's folder, or first in "
        "the ledger's PostgreSQL database (needed where storage_path is a URL).",
    )
    snapshot_steps: Count | None = Field(
        default=None,
        description="Steps between snapshots of the weights. A killed first-order run loses the steps after the last "
        "one (50 when absent); for a zeroth-order run they only speed up a replay (1000 when absent).",
    )
