"""How much noise this project adds at an ε, and how much the papers' released codes would add.

    python benchmarks/noise.py [--delta 1e-5] [--format markdown]

The codes calibrate σ with the Rényi accountant of Opacus. The code of DP-AggZO aims at 0.95 ε. The code of DPZero adds
twice the noise, 2σC, which protects against the replacement of an example; our noise is calibrated for the same
adjacency there. Our ε is certified by privacy loss distributions. The Opacus search is run to 0.1 % of ε, in place of
its usual 0.01, so that its rounding gives neither side an advantage. All noise is the standard deviation on the sum
over the batch, in multiples of C.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from opacus.accountants.utils import get_noise_multiplier
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from orchestrator.privacy.accountant.adjacency import Adjacency
from orchestrator.privacy.rules.caps import SweepCaps
from orchestrator.privacy.rules.fitting import calibrate
from orchestrator.privacy.rules.laws import StepCap


@dataclass(frozen=True)
class Setting:
    """A published setting, and how the code of its paper turns a Rényi σ into noise.

    Args:
        name: code and task.
        sampling_prob: q.
        num_steps: T.
        share: the part of ε that the code calibrates for.
        factor: the factor by which the code multiplies σ.
        adjacency: the relation of data sets that the code's noise protects.
    """

    name: str
    sampling_prob: float
    num_steps: int
    share: float = 1.0
    factor: float = 1.0
    adjacency: Adjacency = "add-or-remove-one"


SETTINGS = (
    Setting("DP-ZO, OPT, 1,000 examples, B 16", 0.016, 75_000),
    Setting("DP-AggZO, RoBERTa, MNLI", 0.0416, 1000, share=0.95),
    Setting("DP-AggZO, RoBERTa, SST-5", 0.025, 1000, share=0.95),
    Setting("DP-AggZO, OPT, SQuAD", 0.064, 1000, share=0.95),
    Setting("DPZero, RoBERTa, SST-2", 0.0625, 10_000, factor=2.0, adjacency="replace-one"),
    Setting("DPZero, OPT, SST-2, B 8", 0.008, 10_000, factor=2.0, adjacency="replace-one"),
)
EPSILONS = (2.0, 6.0)


@dataclass(frozen=True)
class Row:
    """One setting at one ε; noise in multiples of C."""

    setting: Setting
    epsilon: float
    opacus: float
    ours: float
    of_code: float
    ours_same_adjacency: float


def opacus_noise(setting: Setting, epsilon: float, delta: float) -> float:
    """Return σ by the Rényi accountant of Opacus, which warns where its largest order is the best one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return get_noise_multiplier(
            target_epsilon=epsilon,
            target_delta=delta,
            sample_rate=setting.sampling_prob,
            steps=setting.num_steps,
            accountant="rdp",
            epsilon_tolerance=1e-3 * epsilon,
        )


def our_noise(setting: Setting, epsilon: float, delta: float, adjacency: Adjacency) -> float:
    """Return σ by privacy loss distributions."""

    def caps(noise_multiplier: float) -> SweepCaps:
        size = {"sampling_prob": setting.sampling_prob, "num_steps": setting.num_steps}
        return SweepCaps(train_step=StepCap.model_validate(size | {"noise_multiplier": noise_multiplier}))

    return calibrate(caps, epsilon, delta, adjacency)


def compare(setting: Setting, epsilon: float, delta: float) -> Row:
    """Return one row of the table."""
    ours = partial(our_noise, setting, epsilon, delta)
    plain = ours("add-or-remove-one")
    return Row(
        setting=setting,
        epsilon=epsilon,
        opacus=opacus_noise(setting, epsilon, delta),
        ours=plain,
        of_code=setting.factor * opacus_noise(setting, setting.share * epsilon, delta),
        ours_same_adjacency=plain if setting.adjacency == "add-or-remove-one" else ours(setting.adjacency),
    )


def table(rows: Sequence[Row], delta: float, *, markdown: bool) -> Table:
    """Return the table of all rows."""
    title = None if markdown else f"Noise on the sum / C at equal ε, δ = {delta:g}"
    shown = Table(title=title, box=box.MARKDOWN if markdown else box.SIMPLE_HEAD)
    shown.add_column("setting")
    for name in ("q", "T", "ε", "Opacus RDP", "PLD", "less", "as the code adds it", "ours, same adjacency", "less"):
        shown.add_column(name, justify="right")
    for row in rows:
        setting = row.setting
        shown.add_row(
            setting.name,
            f"{setting.sampling_prob:g}",
            f"{setting.num_steps:,}",
            f"{row.epsilon:g}",
            *(f"{row.opacus:.3f}", f"{row.ours:.3f}", less(row.ours, row.opacus)),
            *(f"{row.of_code:.3f}", f"{row.ours_same_adjacency:.3f}", less(row.ours_same_adjacency, row.of_code)),
        )
    return shown


def less(ours: float, theirs: float) -> str:
    """Return by how much our noise is below theirs, in per cent of theirs."""
    return f"{1.0 - ours / theirs:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delta", type=float, default=1e-5, help="δ")
    parser.add_argument("--epsilon", type=float, nargs="+", default=EPSILONS, help="values of ε")
    parser.add_argument("--format", choices=["table", "markdown"], default="table", help="markdown: the docs")
    arguments = parser.parse_args()
    asked = [(setting, epsilon) for setting in SETTINGS for epsilon in arguments.epsilon]
    progress = Console(stderr=True)
    rows = [compare(*one, arguments.delta) for one in track(asked, description="calibrating", console=progress)]
    markdown = arguments.format == "markdown"
    Console(width=150 if markdown else None).print(table(rows, arguments.delta, markdown=markdown))


if __name__ == "__main__":
    main()
