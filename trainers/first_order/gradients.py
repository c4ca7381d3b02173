"""The gradient of each unit of privacy (an example, or all drawn examples of a user) over the trainable parameters.

Opacus' hooks give a gradient for each row of a padded batch. The rows of a unit lie in one pass and are added up,
because an example's options share one loss. Each row costs a copy of the gradient, so passes are bounded in bytes as
well as in tokens. Units that do not fit, and models that the hooks get wrong (`proof`), are differentiated one unit at
a time: always right, but slower.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from trainers.evaluators.base import Example
from trainers.evaluators.rows import rows_of
from trainers.evaluators.transformers.evaluator import TransformersEvaluator

Unit = Sequence[Example]
GRADIENT_BYTES = 2**30  # of the gradients of one pass


class UnitGradients:
    """Gradients of the mean loss of each unit at θ.

    With `by_opacus` many units share a pass, of at most `max_tokens` padded tokens.
    """

    def __init__(self, evaluator: TransformersEvaluator, max_tokens: int, *, by_opacus: bool = True) -> None:
        self.by_opacus = by_opacus
        self._evaluator = evaluator
        self._max_tokens = max_tokens

    def __call__(self, units: Sequence[Unit]) -> Iterator[dict[str, torch.Tensor]]:
        """Yield name → gradients [U, *shape] of the units, pass by pass; every unit once, none empty."""
        max_rows = GRADIENT_BYTES // (4 * self._evaluator.parameter_count)
        for group in _passes(units, self._max_tokens, max_rows):
            if len(group) == 1 or not self.by_opacus:
                yield from (self.alone(unit) for unit in group)
            else:
                yield self.together(group)

    def total(self, units: Sequence[Unit]) -> Iterator[dict[str, torch.Tensor]]:
        """Yield name → the sum of the gradients [1, *shape], pass by pass: for runs without a clip."""
        for group in _passes(units, self._max_tokens, max_rows=self._max_tokens):
            yield self.alone(*group)

    def alone(self, *units: Unit) -> dict[str, torch.Tensor]:
        """Return name → the gradient of one unit, or the sum of several, [1, *shape], by plain autograd."""
        with self._evaluator.differentiable() as (_, trained):
            _, losses_B = self._evaluator.row_losses([example for unit in units for example in unit])
            total = (losses_B * _shares(units, losses_B.device)).sum()
            gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True)
        return {
            name: (torch.zeros_like(parameter) if gradient is None else gradient)[None]
            for (name, parameter), gradient in zip(trained.items(), gradients, strict=True)
        }

    def together(self, units: Sequence[Unit]) -> dict[str, torch.Tensor]:
        """Return name → the gradient of each unit, [U, *shape], by one pass under Opacus' hooks."""
        unit_of_example = [number for number, unit in enumerate(units) for _ in unit]
        with self._evaluator.differentiable() as (model, trained), _hooked(model):
            rows, losses_B = self._evaluator.row_losses([example for unit in units for example in unit])
            (losses_B * _shares(units, losses_B.device)).sum().backward()
            unit_of_R = torch.tensor([unit_of_example[row.example] for row in rows], device=losses_B.device)
            gradients = {}
            for name, parameter in trained.items():
                gradients_R = getattr(parameter, "grad_sample", None)
                gradients[name] = parameter.new_zeros((len(units), *parameter.shape))
                if gradients_R is not None:  # absent for a parameter that no loss of the batch depends on
                    gradients[name].index_add_(0, unit_of_R, gradients_R)
                parameter.grad_sample = parameter.grad = None  # type: ignore[attr-defined]
        return gradients


@contextmanager
def _hooked(model: torch.nn.Module) -> Iterator[None]:
    """Let Opacus' hooks keep the gradient of every row during a pass.

    They need training mode: it is switched on for modules with parameters only, so dropout, which has none, stays off.
    """
    owners = [module for module in model.modules() if any(p.requires_grad for p in module.parameters(recurse=False))]
    modes = [module.training for module in owners]
    with warnings.catch_warnings():
        # embeddings warn: their input is no tensor of θ
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        hooks = _opacus_hooks()(model, batch_first=True, loss_reduction="sum", strict=False)
        for module in owners:
            module.training = True
        try:
            yield
        finally:
            for module, mode in zip(owners, modes, strict=True):
                module.training = mode
            hooks.cleanup()


def _opacus_hooks() -> Any:
    try:
        from opacus.grad_sample.grad_sample_module import GradSampleHooks
    except ImportError as missing:
        raise ValueError(
            "DP-SGD and DP-AdamW need Opacus for the gradients of single examples: pip install 'dpzo[first-order]'"
        ) from missing
    return GradSampleHooks


def _shares(units: Sequence[Unit], device: torch.device) -> torch.Tensor:
    """Return the weight of every example in its unit's mean, float64 [B]."""
    shares = [1.0 / len(unit) for unit in units for _ in unit]
    return torch.tensor(shares, dtype=torch.float64, device=device)


def _passes(units: Sequence[Unit], max_tokens: int, max_rows: int) -> Iterator[list[Unit]]:
    """Cut units, longest rows first, into passes of limited padded tokens and rows; a larger unit goes alone."""
    sizes: Mapping[int, tuple[int, int]] = {number: _size(unit) for number, unit in enumerate(units)}
    group: list[Unit] = []
    longest = num_rows = 0
    for number in sorted(sizes, key=lambda number: sizes[number], reverse=True):
        length, rows = sizes[number]
        if group and (longest * (num_rows + rows) > max_tokens or num_rows + rows > max_rows):
            yield group
            group, num_rows = [], 0
        longest = max(longest, length) if group else length
        group.append(units[number])
        num_rows += rows
    if group:
        yield group


def _size(unit: Unit) -> tuple[int, int]:
    """Return the longest row of a unit in tokens, and how many rows it has."""
    rows = rows_of(unit)
    return len(rows[0].ids), len(rows)
