"""Rows: the token sequences that a batch of examples needs, and what each must predict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainers.evaluators.base import Example

FIXED_TOKENS = 512  # of one pass of fixed shape: fewer cost more overhead, more are wasted on a short batch


@dataclass(frozen=True)
class Row:
    """A token sequence to be read, the example that it serves, and the tokens that it must predict.

    `targets` is one candidate continuation; or, if every option is a single token, all options, which are predicted at
    the same place (`options_share_place`); or empty for a classification head. `place` is where an encoder predicts: at
    its mask, or for a classification head at its first token. A causal model (None) predicts at the end of the row.
    """

    example: int
    option: int
    ids: tuple[int, ...]
    targets: tuple[int, ...]
    options_share_place: bool
    place: int | None = None

    @property
    def places(self) -> range:
        if self.place is not None:
            return range(self.place, self.place + 1)
        num_places = 1 if self.options_share_place else len(self.targets)
        return range(len(self.ids) - num_places, len(self.ids))


def rows_of(examples: Sequence[Example]) -> list[Row]:
    """Return the rows that examples need, longest first: one if the options share a place, otherwise one per option."""
    rows = [row for number, example in enumerate(examples) for row in _rows_of_one(number, example)]
    return sorted(rows, key=lambda row: len(row.ids), reverse=True)


def cut(rows: Sequence[Row], starts_new: Callable[[Sequence[Row], Row], bool]) -> list[tuple[Row, ...]]:
    """Cut rows, in their order, into groups. `starts_new(group, row)` says that the row does not fit the group."""
    groups: list[list[Row]] = []
    for row in rows:
        if not groups or starts_new(groups[-1], row):
            groups.append([])
        groups[-1].append(row)
    return [tuple(group) for group in groups]


def _rows_of_one(number: int, example: Example) -> list[Row]:
    options, mask = example.option_ids, example.mask_place
    if not options:
        return [Row(number, 0, example.prompt_ids, (), options_share_place=False, place=0)]
    if mask is not None:
        words = tuple(option[0] for option in options)
        return [Row(number, 0, example.prompt_ids, words, options_share_place=True, place=mask)]
    if len(options) > 1 and all(len(option) == 1 for option in options):
        return [Row(number, 0, example.prompt_ids, tuple(option[0] for option in options), options_share_place=True)]
    return [
        Row(number, index, (*example.prompt_ids, *option[:-1]), option, options_share_place=False)
        for index, option in enumerate(options)
    ]
