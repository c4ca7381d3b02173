"""A linear head on frozen features as a loss evaluator, for the rows "head" of utility.py.

The features of a text are computed once, so that a run of a thousand steps takes seconds. Sampler, clip, noise,
accountant, directions and updates are the product's. No configuration of the product can choose this model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.config import RunConfig
from trainers.data.sources import read_rows
from trainers.directions import WeightedDirections
from trainers.evaluators.base import Example, OutputPoint, Probe
from trainers.evaluators.parameters import Parameters
from trainers.run.context import Workspace

BATCH = 64


class FrozenHead:
    """A `LossEvaluator` with two logits x Wᵀ + b for features x; θ = (W, b) begins at 0.

    Args:
        features_NW: features of every text, float32. The only token of an example is the number of its row here.
    """

    def __init__(self, features_NW: torch.Tensor) -> None:
        self._features_NW = features_NW
        live = {"head.weight": torch.zeros(2, features_NW.shape[1]), "head.bias": torch.zeros(2)}
        self._weight, self._bias = live.values()
        self.parameters = Parameters(live)

    @property
    def parameter_count(self) -> int:
        return self.parameters.count

    @torch.inference_mode()
    def probe(self, batch: Sequence[Example], probes: Sequence[Probe]) -> np.ndarray:
        losses_PB = np.empty((len(probes), len(batch)))
        for losses_B, probe in zip(losses_PB, probes, strict=True):
            self.parameters.perturb(probe.direction, probe.scale)
            losses_B[:] = self._losses(batch)
        return losses_PB

    @torch.inference_mode()
    def losses(self, batch: Sequence[Example]) -> np.ndarray:
        self.parameters.settle()
        return self._losses(batch)

    @torch.inference_mode()
    def predict(self, batch: Sequence[Example]) -> np.ndarray:
        self.parameters.settle()
        return self._logits(batch).argmax(dim=1).numpy()

    @torch.inference_mode()
    def public_outputs(self, points: Sequence[OutputPoint]) -> list[float]:
        outputs = []
        for point in points:
            self.parameters.place(point)
            outputs.append(float((self._weight.sum(dim=1) + self._bias).mean()))  # of features that are all 1
        return outputs

    @torch.inference_mode()
    def public_answers(self) -> list[float]:
        self.parameters.settle()
        return [float((size * self._weight.sum(dim=1) + self._bias).mean()) for size in (1.0, 2.0)]

    @torch.inference_mode()
    def apply(self, update: WeightedDirections, *, momentum: float = 0.0) -> None:
        self.parameters.add(update, momentum=momentum)

    @torch.inference_mode()
    def reset(self) -> None:
        self.parameters.reset()

    def gradients(self, batch: Sequence[Example]) -> torch.Tensor:
        """Return every example's gradient, float32 [batch, d]."""
        self.parameters.settle()
        rows_B = torch.tensor([example.prompt_ids[0] for example in batch])
        labels_B = torch.tensor([example.label for example in batch])
        errors_B2 = torch.softmax(self._logits(batch), dim=1) - torch.nn.functional.one_hot(labels_B, 2)
        weights_B2W = errors_B2[:, :, None] * self._features_NW[rows_B][:, None]
        return torch.cat([weights_B2W.flatten(1), errors_B2], dim=1)

    def state_digest(self) -> str:
        return self.parameters.digest()

    def _logits(self, batch: Sequence[Example]) -> torch.Tensor:
        rows_B = torch.tensor([example.prompt_ids[0] for example in batch], dtype=torch.int64)
        return self._features_NW[rows_B] @ self._weight.T + self._bias

    def _losses(self, batch: Sequence[Example]) -> np.ndarray:
        labels_B = torch.tensor([example.label for example in batch], dtype=torch.int64)
        return torch.nn.functional.cross_entropy(self._logits(batch).double(), labels_B, reduction="none").numpy()


def head_workspace(config: RunConfig, cache: Path, *, pooled: bool) -> Workspace:
    """Return training and validation examples and a head on the features of `config.model`; `cache` keeps the features.

    pooled: use the state that a classification head reads, in place of the mean over a text's tokens.
    """
    assert config.data.validation is not None
    parts = []
    for source in (config.data.train, config.data.validation):
        rows = read_rows(source, ["sentence", "label"], "data")
        kept = cache / f"{Path(config.model.path).name}-{Path(source).stem}.pt"
        if not kept.is_file():
            torch.save(features([str(row["sentence"]) for row in rows], config.model.path, pooled=pooled), kept)
        parts.append((torch.load(kept), [int(str(row["label"])) for row in rows]))
    (train_NW, train_labels), (validation_NW, validation_labels) = parts
    evaluator: Any = FrozenHead(torch.cat([train_NW, validation_NW]))
    labels = [*train_labels, *validation_labels]
    examples = [Example((row,), (), label) for row, label in enumerate(labels)]
    return Workspace(examples[: len(train_NW)], examples[len(train_NW) :], evaluator)


@torch.inference_mode()
def features(texts: Sequence[str], path: str, *, pooled: bool) -> torch.Tensor:
    """Return a state of each text, float32 [texts, width]: the pooled one, or the mean over tokens at length √width."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    found = torch.empty(len(texts), model.config.hidden_size)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        rows = [texts[row] for row in chosen]
        inputs = tokenizer(rows, padding=True, truncation=True, max_length=96, return_tensors="pt")
        output = model(**inputs)
        weights_BL1 = inputs["attention_mask"][:, :, None].float()
        means_BW = (output.last_hidden_state * weights_BL1).sum(1) / weights_BL1.sum(1)
        scaled_BW = torch.nn.functional.normalize(means_BW, dim=1) * found.shape[1] ** 0.5
        found[chosen] = output.pooler_output if pooled else scaled_BW
    return found
