import pytest

from trainers.run.answers import exact_match, mean_score, normalised, token_f1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("The  Cat!", "cat"), ("an apple, a day", "apple day"), ("Theatre", "theatre"), ("U.S.", "us"), ("the", "")],
)
def test_case_punctuation_articles_and_blanks_do_not_count(text, expected):
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("answer", "right", "exact", "f1"),
    [
        ("The night.", "night", 1.0, 1.0),
        ("at night", "night", 0.0, 2 / 3),
        ("night night", "night", 0.0, 2 / 3),
        ("day", "night", 0.0, 0.0),
        ("", "the", 1.0, 1.0),
        ("", "night", 0.0, 0.0),
    ],
)
def test_exact_match_and_token_f1(answer, right, exact, f1):
    assert exact_match(answer, right) == exact
    assert token_f1(answer, right) == pytest.approx(f1)


def test_the_best_of_several_right_answers_counts():
    assert mean_score(token_f1, ["at night", "day"], [("night", "at night"), ("night",)]) == 0.5
    with pytest.raises(ValueError, match="an answer with at least one reference is expected"):
        mean_score(token_f1, ["night"], [()])
    with pytest.raises(ValueError, match="got 0 answers"):
        mean_score(token_f1, [], [])
