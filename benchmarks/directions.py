"""What one pass of a public direction over a model costs, compared with torch.normal and with a plain copy.

    python benchmarks/directions.py [--repeats 9] [--threads 2]

The tensors have the shapes of OPT-125M. The passes take turns, so that a busy machine slows down all of them alike:
compare the ratios. `torch.normal` draws a float32 tensor of normal values and adds it, as published zeroth-order code
does. `copy` is live.copy_(master): no pass that writes the weights moves fewer bytes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from measuring import times_in_turn

from trainers.directions import Direction
from trainers.directions.apply import add_directions, add_rounded, write_perturbed
from trainers.directions.counter import Kind
from trainers.directions.rounding import Rounding

HIDDEN, FEED_FORWARD, NUM_LAYERS, VOCABULARY, POSITIONS = 768, 3072, 12, 50272, 2050
SCALE = 1e-3


def opt_125m_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes by parameter name, as in facebook/opt-125m."""
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (VOCABULARY, HIDDEN),
        "embed_positions.weight": (POSITIONS, HIDDEN),
        "final_layer_norm.weight": (HIDDEN,),
        "final_layer_norm.bias": (HIDDEN,),
    }
    linear = {f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "out")}
    linear |= {"fc1": (FEED_FORWARD, HIDDEN), "fc2": (HIDDEN, FEED_FORWARD)}
    for layer in range(NUM_LAYERS):
        for name, shape in linear.items():
            shapes[f"layers.{layer}.{name}.weight"] = shape
            shapes[f"layers.{layer}.{name}.bias"] = shape[:1]
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes[f"layers.{layer}.{name}.weight"] = (HIDDEN,)
            shapes[f"layers.{layer}.{name}.bias"] = (HIDDEN,)
    return {f"model.decoder.{name}": shape for name, shape in shapes.items()}


def passes(num_directions: int) -> dict[str, Callable[[int], None]]:
    """Return the passes over all tensors by name; a pass takes a number, which it ignores."""
    master = {name: torch.randn(shape) * 0.02 for name, shape in opt_125m_shapes().items()}
    live = {name: torch.zeros_like(tensor) for name, tensor in master.items()}
    half = {name: torch.zeros_like(tensor, dtype=torch.bfloat16) for name, tensor in master.items()}
    half_master = {name: tensor.bfloat16() for name, tensor in master.items()}
    small = [name for name, tensor in master.items() if tensor.numel() <= FEED_FORWARD]

    def write(target: dict[str, torch.Tensor], kind: Kind, names: list[str] | None = None) -> None:
        direction = Direction(seed=1, step=2, index=0, kind=kind)
        for name in names or master:
            write_perturbed({name: target[name]}, {name: master[name]}, direction, SCALE)

    def update(kind: Kind, count: int = num_directions) -> None:
        terms = [(Direction(1, 2, index, kind), 1e-9) for index in range(count)]
        for name, tensor in master.items():
            add_directions({name: tensor}, terms)

    def write_from_half(_: int) -> None:
        for name, tensor in half_master.items():
            write_perturbed({name: half[name]}, {name: tensor}, Direction(1, 2, 0, "rademacher"), SCALE)

    def update_rounded(count: int) -> None:
        add_rounded(
            half_master, [(Direction(1, 2, index, "rademacher"), 1e-9) for index in range(count)], Rounding(1, 0)
        )

    def normal(_: int) -> None:
        for name, tensor in master.items():
            z = torch.normal(mean=0.0, std=1.0, size=tensor.shape)
            torch.add(tensor, z, alpha=SCALE, out=live[name])

    def copy(_: int) -> None:
        for name, tensor in master.items():
            live[name].copy_(tensor)

    return {
        "copy": copy,
        "torch.normal and add": normal,
        "rademacher, write": lambda _: write(live, "rademacher"),
        "gaussian, write": lambda _: write(live, "gaussian"),
        "rademacher, write bfloat16": lambda _: write(half, "rademacher"),
        "gaussian, write bfloat16": lambda _: write(half, "gaussian"),
        f"rademacher, add {num_directions}": lambda _: update("rademacher"),
        f"gaussian, add {num_directions}": lambda _: update("gaussian"),
        "rademacher, add 1": lambda _: update("rademacher", 1),
        "rademacher, bfloat16 from bfloat16": write_from_half,
        "rademacher, add 1 to bfloat16": lambda _: update_rounded(1),
        f"rademacher, add {num_directions} to bfloat16": lambda _: update_rounded(num_directions),
        f"rademacher, the {len(small)} smallest tensors": lambda _: write(live, "rademacher", small),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=9, help="passes of each kind; the median is shown")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch.set_num_threads")
    parser.add_argument("--directions", type=int, default=16, help="directions that an add applies at once")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    seconds = times_in_turn(passes(arguments.directions), arguments.repeats)
    report(seconds, arguments.threads)


def report(seconds: dict[str, list[float]], num_threads: int) -> None:
    """Print medians, minima and ratios to the plain copy and to torch.normal."""
    numel = sum(torch.Size(shape).numel() for shape in opt_125m_shapes().values())
    print(f"{numel / 1e6:.1f} M float32 parameters in {len(opt_125m_shapes())} tensors, {num_threads} threads")
    print(f"{'pass':<36}{'median ms':>10}{'min ms':>10}{'/ copy':>9}{'torch.normal /':>16}")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        ratios = f"{median / medians['copy']:>9.2f}{medians['torch.normal and add'] / median:>16.2f}"
        print(f"{name:<36}{median * 1e3:>10.1f}{min(seconds[name]) * 1e3:>10.1f}{ratios}")


if __name__ == "__main__":
    main()
