"""Clipping gradients of units, and their sum.

| gradient of a unit                 | its contribution                                       |
|------------------------------------|--------------------------------------------------------|
| any coordinate NaN, +inf or −inf   | 0                                                      |
| L2 norm at most C                  | itself, or shorter by a millionth where it is close    |
| L2 norm above C, however large     | its direction at a norm of a millionth below C         |
| empty batch                        | the sum is 0                                           |
| no clip (a run without privacy)    | itself; of a pass with such a coordinate, nothing      |

All in float64. The millionth covers rounding: norm, quotient and product of 2**32 float32 values are off by far less.
"""

from collections.abc import Iterable, Mapping

import torch

MARGIN = 2.0**-20


def add_clipped(
    total: Mapping[str, torch.Tensor], passes: Iterable[Mapping[str, torch.Tensor]], clip_norm: float | None
) -> None:
    """Add the clipped gradients of all units to `total`, float64, in place.

    Args:
        total: name → sum, of a parameter's shape.
        passes: name → gradients of the units of one pass, [U, *shape].
        clip_norm: C, over all parameters together; None adds them as they are.

    Formal guarantees:
        With C given, a unit's contribution depends on its own gradient alone and has an L2 norm of at most C.
    """
    for gradients in passes:
        norms_U = torch.stack([_squares(gradient) for gradient in gradients.values()]).sum(dim=0).sqrt()
        scales_U = _scales(norms_U, clip_norm)
        for unit in norms_U.isfinite().nonzero().flatten().tolist():
            scale = float(scales_U[unit])
            for name, gradient in gradients.items():
                total[name].add_(gradient[unit], alpha=scale)  # in float64, without copying the gradient


def _scales(norms_U: torch.Tensor, clip_norm: float | None) -> torch.Tensor:
    if clip_norm is None:
        return torch.ones_like(norms_U)
    return (clip_norm * (1.0 - MARGIN) / norms_U.clamp(min=torch.finfo(torch.float64).tiny)).clamp(max=1.0)


def _squares(gradient: torch.Tensor) -> torch.Tensor:
    """Return the squared norm of each unit's part, float64 [U]."""
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64).square()
