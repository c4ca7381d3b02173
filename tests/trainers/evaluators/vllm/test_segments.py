"""Where weights land, found out from a model's own `load_weights`; no engine is needed for that."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from trainers.evaluators.vllm.segments import lay_out

WEIGHTS = {
    "q": torch.randn(8, 4),
    "k": torch.randn(4, 4),
    "down": torch.randn(4, 6),
    "embed": torch.randn(5, 4),
    "c_attn": torch.randn(4, 12),
    "bias": torch.randn(12),
    "norm": torch.randn(4),
}
PARAMETERS = {
    "q": "qkv",
    "k": "qkv",
    "down": "down",
    "embed": "embed",
    "c_attn": "c_attn",
    "bias": "bias",
    "norm": "norm",
}


class Engine(torch.nn.Module):
    """Holds one device's part of `WEIGHTS`, as an engine would: fused, split, transposed and padded."""

    def __init__(self, rank: int = 0, devices: int = 1) -> None:
        super().__init__()
        self.rank, self.devices = rank, devices
        for name, shape in {
            "qkv": (12 // devices, 4),
            "down": (4, 6 // devices),
            "embed": (8 // devices, 4),
            "c_attn": (12 // devices, 4),
            "bias": (12 // devices,),
            "norm": (4,),
        }.items():
            setattr(self, name, torch.nn.Parameter(torch.zeros(shape, dtype=torch.bfloat16), requires_grad=False))

    def part(self, values: torch.Tensor, dim: int = 0) -> torch.Tensor:
        return values.chunk(self.devices, dim)[self.rank]

    def load_weights(self, weights) -> set[str]:
        loaded = set()
        for name, values in weights:
            loaded.add(PARAMETERS[name])
            getattr(self, f"load_{name}", self.load_whole)(name, values)
        return loaded

    def load_whole(self, name: str, values: torch.Tensor) -> None:
        getattr(self, name).data.copy_(values)

    def load_q(self, _: str, values: torch.Tensor) -> None:
        self.qkv.data[: 8 // self.devices].copy_(self.part(values))

    def load_k(self, _: str, values: torch.Tensor) -> None:
        self.qkv.data[8 // self.devices :].copy_(self.part(values))

    def load_down(self, _: str, values: torch.Tensor) -> None:
        self.down.data.copy_(self.part(values, 1))

    def load_embed(self, _: str, values: torch.Tensor) -> None:
        rows = values[self.rank * len(self.embed) : (self.rank + 1) * len(self.embed)]
        self.embed.data[: len(rows)].copy_(rows)
        self.embed.data[len(rows) :].fill_(0)

    def load_c_attn(self, _: str, values: torch.Tensor) -> None:
        self.c_attn.data.copy_(torch.cat([self.part(third) for third in values.t().chunk(3)]))

    def load_bias(self, _: str, values: torch.Tensor) -> None:
        self.bias.data.copy_(torch.cat([self.part(third) for third in values.chunk(3)]))


@pytest.mark.parametrize(("rank", "devices"), [(0, 1), (0, 2), (1, 2)])
def test_what_is_written_by_name_is_what_the_engine_would_load(rank, devices):
    engine, expected = Engine(rank, devices), Engine(rank, devices)
    layout = lay_out(engine, WEIGHTS)
    moved = {name: torch.randn_like(weight) for name, weight in WEIGHTS.items()}
    for name, live in layout.live.items():
        assert live.shape == WEIGHTS[name].shape
        assert live.is_contiguous()
        live.copy_(moved[name])
    layout.forward()
    expected.load_weights(moved.items())
    for name, parameter in engine.named_parameters():
        assert torch.equal(parameter, expected.get_parameter(name)), name


def test_the_weights_themselves_stay_where_they_were():
    engine, expected = Engine(), Engine()
    layout = lay_out(engine, WEIGHTS)
    expected.load_weights(WEIGHTS.items())
    assert all(torch.equal(values, expected.get_parameter(name)) for name, values in engine.named_parameters())
    assert not layout.staged, "on one device every weight is written in place"
    assert all(torch.equal(live, WEIGHTS[name].bfloat16()) for name, live in layout.live.items())


def test_only_what_is_split_is_staged():
    layout = lay_out(Engine(0, 2), WEIGHTS)
    assert "norm" not in layout.staged
    assert len(layout.staged["c_attn"]) == len(layout.staged["bias"]) == 3
    assert lay_out(Engine(1, 2), WEIGHTS).staged["embed"][0].box == (slice(4, 5), slice(0, 4))


def test_a_packed_weight_is_refused():
    engine = Engine()
    engine.down = torch.nn.Parameter(torch.empty(0), requires_grad=False)
    with pytest.raises(ValueError, match="computes with a packed copy of down"):
        lay_out(engine, WEIGHTS)


def shuffled(values: torch.Tensor) -> torch.Tensor:
    return values[torch.tensor([1, 0, 3, 2])]


def with_a_hole(values: torch.Tensor) -> torch.Tensor:
    values = values.clone()
    values[1, 1] = 0
    return values


@pytest.mark.parametrize("change", [shuffled, with_a_hole])
def test_an_order_that_strides_cannot_say_is_refused(change: Callable, monkeypatch):
    monkeypatch.setattr(Engine, "load_down", lambda self, _, values: self.down.data.copy_(change(values)))
    with pytest.raises(ValueError, match="the order in which the engine lays out the parameter down"):
        lay_out(Engine(), WEIGHTS)


def test_a_weight_that_the_engine_does_not_keep_is_refused(monkeypatch):
    monkeypatch.setattr(Engine, "load_weights", lambda self, weights: set())
    with pytest.raises(ValueError, match="keeps the parameter q in 0 of its parameters"):
        lay_out(Engine(), WEIGHTS)
