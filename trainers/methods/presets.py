"""The papers' published settings, by method and model: `method.preset: dpzero/roberta-large`.

A preset fills the `method` section; what the configuration gives itself goes before it. Batch size, epsilon and delta
belong to `privacy` and are not filled: `with_batch` says which B the settings were published with. Learning rates and
clips do not carry over to models of another size, so a preset knows its heads and sizes and is refused elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Published settings.

    Args:
        method: name in the catalogue.
        heads: values of model.head that it was published for.
        sizes: parameters of the whole model, from and to.
        with_batch: what it was published with: B, data.
        settings: of the `method` section.
        trainable: value of model.trainable that it was published for.
    """

    method: str
    heads: tuple[str, ...]
    sizes: tuple[float, float]
    with_batch: str
    settings: Mapping[str, Any]
    trainable: str = "full"


_ENCODER, _CAUSAL = ("masked-lm", "sequence-classification"), ("causal-lm",)
_ROBERTA_LARGE, _OPT_1B, _OPT_3B, _OPT = (2e8, 6e8), (8e8, 2e9), (2e9, 4e9), (1e8, 1e11)
_STAGES = {
    "num_steps": 6000,
    "stage_steps": 1000,
    "learning_rate": 2e-5,
    "clip_norm": 30.0,
    "smoothing": 1e-6,
    "proximal": 5e-4,
    "num_directions": 1,
}

PRESETS: dict[str, Preset] = {
    "mezo/opt-lora": Preset(
        "mezo", _CAUSAL, _OPT, "B 16", {"num_steps": 20_000, "smoothing": 1e-2, "learning_rate": 1e-4}, "lora"
    ),
    "dpzero/roberta-large": Preset(
        "dpzero",
        _ENCODER,
        _ROBERTA_LARGE,
        "B 64, 512 examples a class, δ 1e-5",
        {
            "num_steps": 10_000,
            "smoothing": 1e-3,
            "clip_norm": 200.0,
            "learning_rate": 1e-6,
            "direction": "gaussian",
        },
    ),
    "dpzero/opt-1.3b": Preset(
        "dpzero",
        _CAUSAL,
        _OPT_1B,
        "B 8, SST-2",
        {"smoothing": 1e-3, "clip_norm": 300.0, "learning_rate": 1e-7, "direction": "gaussian"},
    ),
    "dp-zoso/roberta-large": Preset("dp-zoso", _ENCODER, _ROBERTA_LARGE, "δ 1/n: convert", _STAGES),
    "dp-zoso/opt-2.7b": Preset("dp-zoso", _CAUSAL, _OPT_3B, "δ 1/n: convert", _STAGES),
    "dp-zopo/roberta-large": Preset(
        "dp-zopo", _ENCODER, _ROBERTA_LARGE, "δ 1/n: convert", {**_STAGES, "mask": {"keep": 0.01}}
    ),
    "dp-zopo/opt-2.7b": Preset("dp-zopo", _CAUSAL, _OPT_3B, "δ 1/n: convert", {**_STAGES, "mask": {"keep": 0.01}}),
    "dp-aggzo/roberta-large": Preset(
        "dp-aggzo",
        _ENCODER,
        _ROBERTA_LARGE,
        "B 64, MNLI at ε = 2, q 0.0416",
        {"num_steps": 1000, "num_directions": 64, "smoothing": 1e-3, "clip_norm": 5.0, "learning_rate": 8e-5},
    ),
    "dp-aggzo/opt-1.3b": Preset(
        "dp-aggzo",
        _CAUSAL,
        _OPT_1B,
        "B 64, SQuAD at ε = 2, q 0.064",
        {"num_steps": 1000, "num_directions": 64, "smoothing": 1e-3, "clip_norm": 2.0, "learning_rate": 6e-5},
    ),
}


def preset_of(name: str) -> Preset:
    """Return a preset by name.

    Raises:
        ValueError: there is none; says which was meant.
    """
    if name in PRESETS:
        return PRESETS[name]
    near = get_close_matches(str(name), PRESETS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown preset {name!r}.{hint} Known: {', '.join(PRESETS)}")


def require_kind_of_model(name: str | None, head: str, trainable: str) -> None:
    """Refuse a preset of another head, or for the other choice of parameters.

    Raises:
        ValueError: one line.
    """
    if name is None:
        return
    preset = preset_of(name)
    if head not in preset.heads or trainable != preset.trainable:
        raise ValueError(
            f"method.preset {name!r} was published for model.head {' or '.join(preset.heads)} with model.trainable "
            f"{preset.trainable}, not for {head} with {trainable}: drop it and give the settings, or choose another"
        )


def require_size_of_model(name: str | None, parameter_count: int) -> None:
    """Refuse a preset of a model that is much smaller or larger.

    Raises:
        ValueError: one line.
    """
    if name is None:
        return
    smallest, largest = preset_of(name).sizes
    if not smallest <= parameter_count <= largest:
        raise ValueError(
            f"method.preset {name!r} was published for models of {smallest:.0e} to {largest:.0e} parameters, and this "
            f"one has {parameter_count:.1e}: its learning rate and clip would not suit. Drop it and give the settings."
        )
