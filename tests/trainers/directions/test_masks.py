import pytest
import torch

from trainers.directions.masks import choose


def scores(**values: list[float]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(row) for name, row in values.items()}


def kept(*arguments, **options) -> dict[str, list[int]]:
    return {name: indices.tolist() for name, indices in choose(*arguments, **options).items()}


SCORES = scores(a=[5.0, 1.0, 4.0, 0.0], b=[3.0, 2.0, 9.0, 8.0])


def test_the_highest_scores_are_kept_over_all_tensors_or_in_each():
    assert kept(SCORES, 0.5) == {"a": [0, 2], "b": [2, 3]}
    assert kept(SCORES, 0.25) == {"a": [], "b": [2, 3]}
    assert kept(SCORES, 0.25, per_tensor=True) == {"a": [0], "b": [2]}
    assert kept(SCORES, 1.0) == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3]}


def test_equal_scores_are_told_apart_by_name_and_index_not_by_order():
    ties = scores(b=[1.0] * 4, a=[1.0] * 4)
    assert kept(ties, 0.75) == kept(dict(reversed(ties.items())), 0.75) == {"a": [0, 1, 2, 3], "b": [0, 1]}


def test_a_mask_grows_around_the_one_before_and_shrinks_within_it():
    before = {"a": torch.tensor([1, 3]), "b": torch.tensor([], dtype=torch.int64)}
    assert kept(SCORES, 0.5, previous=before) == {"a": [1, 3], "b": [2, 3]}
    assert kept(SCORES, 0.125, previous=before) == {"a": [1], "b": []}


def test_a_mask_that_keeps_nothing_is_refused():
    with pytest.raises(ValueError, match=r"method\.mask: keep 0\.1 keeps none of 8 parameters\. Raise mask\.keep"):
        choose(SCORES, 0.1)
    with pytest.raises(ValueError, match="keeps none"):
        choose(SCORES, 0.2, per_tensor=True)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"not finite; choose mask\.scores: magnitude"):
        choose(scores(a=[1.0, float("nan")]), 0.5)
