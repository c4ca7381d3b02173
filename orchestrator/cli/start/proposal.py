"""The settings that `dpzo init` proposes: a prompt, label words, and a method for a model of this kind and size."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.methods.presets import presets

_SENTIMENT = (  # labels from bad to good → the words of Malladi et al. (2023), arXiv:2305.17333, table 14
    ({"negative", "positive"}, ("negative", "positive")),
    ({"neg", "pos"}, ("neg", "pos")),
    ({"bad", "good"}, ("bad", "good")),
)
_WORDS = (" terrible", " great")
_SMALL = {"num_directions": 4, "num_steps": 150, "smoothing": 0.01, "clip_norm": 5.0, "learning_rate": 0.001}
_SMALLEST_PUBLISHED = 1e8  # parameters
MOST_DELTA = 1e-5
LEAST_DELTA_SHARE = 0.1  # δ is at most this share of 1 / number of examples


@dataclass(frozen=True)
class Method:
    """Settings of the `method` section, and where they come from."""

    settings: Mapping[str, Any]
    origin: str


def model_config(path: str) -> dict[str, Any]:
    """Return the config.json of a model folder or of a name on the hub; empty for an adapter or a single file.

    Raises:
        ValueError: there is no such model.
    """
    folder = Path(path).expanduser()
    if folder.exists():
        file = folder / "config.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    from transformers import AutoConfig

    from trainers.evaluators.model_files import readable

    with readable(path, "configuration"):
        return AutoConfig.from_pretrained(path, trust_remote_code=False).to_dict()


def head_of(config: Mapping[str, Any]) -> str:
    """Return the head for a model's architecture."""
    name = next(iter(config.get("architectures") or ["CausalLM"]), "")
    if name.endswith("ForMaskedLM"):
        return "masked-lm"
    return "causal-lm" if "Causal" in name or "LMHead" in name else "sequence-classification"


def size_of(config: Mapping[str, Any]) -> float | None:
    """Return about how many parameters a transformer with these shapes has; None where they are not given."""
    layers = config.get("num_hidden_layers") or config.get("n_layer")
    width = config.get("hidden_size") or config.get("n_embd")
    vocabulary = config.get("vocab_size")
    if not (layers and width and vocabulary):
        return None
    return 12.0 * layers * width**2 + vocabulary * width


def method_for(head: str, size: float | None) -> Method:
    """Return DP-AggZO with the settings published for the nearest model of the same head, or small ones."""
    if size is None or size < _SMALLEST_PUBLISHED:
        return Method(_SMALL, "those of dpzo's demo: no paper has published settings for so small a model")
    known = {name: preset for name, preset in presets().items() if name.startswith("dp-aggzo/")}
    fitting = {name: preset for name, preset in known.items() if head in preset.heads} or known
    name = min(fitting, key=lambda name: abs(math.log(size / math.sqrt(math.prod(fitting[name].sizes)))))
    return Method(fitting[name].settings, f"published as preset {name} ({fitting[name].with_batch})")


def space_around(settings: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the range of each setting that is searched, on a logarithmic scale."""
    factors = {"smoothing": (0.1, 3.0), "clip_norm": (0.2, 6.0), "learning_rate": (0.1, 10.0)}
    return {key: (_short(settings[key] * low), _short(settings[key] * high)) for key, (low, high) in factors.items()}


def label_words(labels: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the end of a prompt, and the word that stands for each label."""
    for names, order in _SENTIMENT:
        if {label.lower() for label in labels} == names:
            return " It was", {label: _WORDS[order.index(label.lower())] for label in labels}
    return " Label:", {label: f" {label}" for label in labels}


def batch_and_delta(num_examples: int) -> tuple[int, float]:
    """Return B, and a δ below a tenth of 1 / number of examples."""
    batch = 64 if num_examples >= 10_000 else 32
    below = 10.0 ** -math.ceil(math.log10(num_examples / LEAST_DELTA_SHARE))
    return max(1, min(batch, num_examples // 4)), min(MOST_DELTA, below)


def declared(num_rows: int) -> int:
    """Return the number of rows with two digits: it then says nothing of a single row that is there or not."""
    unit = 10 ** max(0, len(str(num_rows)) - 2)
    return max(1, num_rows // unit * unit)


def trials_at_once() -> int:
    return 2 if (os.cpu_count() or 1) >= 2 else 1


def _short(value: float) -> float:
    return float(f"{value:.2g}")
