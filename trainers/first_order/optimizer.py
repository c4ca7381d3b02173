"""SGD and AdamW over θ, fed with noisy mean gradients: post-processing, with a state that can be saved."""

from collections.abc import Mapping
from typing import Literal

import torch

OptimizerRule = Literal["sgd", "adamw"]


class Optimizer:
    """torch's own SGD or AdamW on float32 copies of the parameters.

    Args:
        rule: "sgd" (Robbins & Monro 1951, with momentum where it is not 0) or "adamw" (Loshchilov & Hutter 2019,
            arXiv:1711.05101, with β = 0.9 and 0.999).
        theta: name → starting values, which are copied.
        weight_decay: share of θ, times the learning rate, that each step takes away; decoupled from the gradient.
    """

    def __init__(
        self,
        rule: OptimizerRule,
        theta: Mapping[str, torch.Tensor],
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        self._weight_decay = weight_decay
        self._theta = {name: torch.nn.Parameter(tensor.clone(), requires_grad=True) for name, tensor in theta.items()}
        parameters = list(self._theta.values())
        self._rule: torch.optim.Optimizer = (
            torch.optim.SGD(parameters, lr=0.0, momentum=momentum)
            if rule == "sgd"
            else torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)
        )

    @property
    def theta(self) -> dict[str, torch.Tensor]:
        return {name: parameter.data for name, parameter in self._theta.items()}

    @torch.no_grad()
    def step(self, gradient: Mapping[str, torch.Tensor], learning_rate: float) -> None:
        for name, parameter in self._theta.items():
            parameter.mul_(1.0 - learning_rate * self._weight_decay)
            parameter.grad = gradient[name].to(parameter.dtype)
        for group in self._rule.param_groups:
            group["lr"] = learning_rate
        self._rule.step()
        self._rule.zero_grad(set_to_none=True)

    def state(self) -> dict[str, torch.Tensor]:
        """Return θ and the state of the rule, as named tensors: 'theta/…', 'exp_avg/…'."""
        tensors = {f"theta/{name}": tensor for name, tensor in self.theta.items()}
        for name, parameter in self._theta.items():
            remembered = {kind: value for kind, value in self._rule.state[parameter].items() if value is not None}
            tensors |= {f"{kind}/{name}": value for kind, value in remembered.items()}
        return tensors

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            if kind == "theta":
                self._theta[name].data.copy_(value)
            else:
                self._rule.state[self._theta[name]][kind] = value.clone()
