"""The `model` section: which model, which of its parameters train, and in which number type."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainers.config.sections import Count, Section

LayerNumber = Annotated[int, Field(ge=0)]
Layers = (
    Annotated[str, Field(pattern=r"^(all|head|outlier|last-[1-9]\d*)$")]
    | Annotated[list[LayerNumber], Field(min_length=1)]
)
Head = Literal["causal-lm", "masked-lm", "sequence-classification"]


class LoraConfig(Section):
    """A low-rank adapter (Hu et al., 2021, arXiv:2106.09685); defaults of the MeZO paper."""

    rank: Count = Field(default=8, description="Rank r.")
    alpha: Count = Field(default=16, description="Scale: the adapter is multiplied by alpha / r.")
    target_modules: list[str] | None = Field(
        default=None, description="Modules that get one; PEFT's choice when absent."
    )
    init: Literal["random", "activation"] = Field(
        default="random",
        description="How A begins: at random (public seed), or as the right basis of its layer's inputs on public text "
        "(data.public), of largest energy. activation needs train: b.",
    )
    train: Literal["both", "b"] = Field(
        default="both", description="Which factor trains: A and B, or B alone over a fixed A (FFA-LoRA)."
    )

    @model_validator(mode="after")
    def _a_basis_is_fixed(self) -> LoraConfig:
        if self.init == "activation" and self.train == "both":
            raise ValueError("init: activation makes A a fixed basis: it needs train: b")
        return self


class ModelConfig(Section):
    """Which model, and which of its parameters train."""

    path: str = Field(description="A folder, or a name on the Hugging Face hub.")
    head: Head = Field(
        default="causal-lm",
        description="Loss that it computes: of a continuation, of a word at [MASK], or of a class.",
    )
    trainable: Literal["full", "all-linear", "lora"] = Field(
        default="full",
        description="All parameters; the weights of all linear layers but the one that writes the vocabulary; or a "
        "LoRA adapter. A classification head trains whole with each.",
    )
    layers: Layers = Field(
        default="all",
        description="Which layers move: all, numbers from 0, last-4, outlier, the layer in which outlier activations "
        "begin, or head, what stands behind the layers (full only). Embeddings move with all only, and so does a "
        "vocabulary head that is tied to them; a classification head moves always.",
    )
    lora: LoraConfig = Field(default_factory=LoraConfig, description="Used with trainable: lora.")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Number type of its computations. The parameters that train are kept in master_dtype.",
    )
    master_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Number type of the parameters that train. bfloat16 takes half the memory: updates are added in "
        "float32 and rounded stochastically, by public bits. For zeroth-order methods.",
    )

    @model_validator(mode="after")
    def _a_head_trains_whole(self) -> ModelConfig:
        if self.layers == "head" and self.trainable != "full":
            raise ValueError(f"layers: head has no layers for trainable: {self.trainable}: set trainable: full")
        return self
