"""Words at a mask, and options that a row brings itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models import MASK_ID, VOCABULARY
from tests.support.models import tokenizer as small
from trainers.config import RunConfig, TaskConfig
from trainers.data.prompts import PromptEncoder

WORDS = {"bad": "terrible", "good": "great"}
SECRET = "Wachtelkoenig"


def masked(template="{text} It was [MASK]", **more) -> TaskConfig:
    return TaskConfig(template=template, label_column="label", label_words=WORDS, **more)


def own(options=("{a}", "{b}"), **more) -> TaskConfig:
    return TaskConfig(template="{text} was", label_column="label", options=list(options), **more)


def test_the_mask_stands_where_the_template_has_it():
    row = {"text": "good food", "label": "good"}
    for template, place in (("{text} It was [MASK]", 5), ("[MASK] {text}", 1)):
        (example,) = PromptEncoder(masked(template), small(around=True)).encode([row])
        assert (example.mask_place, example.label) == (place, 1)
        assert example.prompt_ids[place] == MASK_ID
        assert (example.prompt_ids[0], example.prompt_ids[-1]) == (2, 3)
        assert example.option_ids == ((VOCABULARY["terrible"],), (VOCABULARY["great"],))


@given(before=st.integers(0, 12), after=st.integers(0, 12), room=st.integers(1, 12))
def test_a_cut_never_loses_the_mask(before, after, room):
    encoder = PromptEncoder(masked("{a} [MASK] {b}", max_tokens=room + 2), small(around=True))
    (example,) = encoder.encode([{"a": "food " * before, "b": "good " * after, "label": "bad"}])
    whole = [2, *[11] * before, MASK_ID, *[10] * after, 3]
    assert example.prompt_ids.count(MASK_ID) == 1
    assert example.prompt_ids[example.mask_place] == MASK_ID
    assert len(example.prompt_ids) == min(len(whole), room + 2)
    assert (example.prompt_ids[0], example.prompt_ids[-1]) == (2, 3)
    if after < room:  # the end is what stays
        assert list(example.prompt_ids[1:-1]) == whole[1:-1][-room:]


def test_a_mask_in_a_rows_text_is_not_the_templates():
    row = {"text": "good <mask> food <mask>", "label": "good"}
    (example,) = PromptEncoder(masked(), small(around=True)).encode([row])
    assert example.prompt_ids.count(MASK_ID) == 1
    assert example.mask_place == len(example.prompt_ids) - 2


@pytest.mark.parametrize(
    ("head", "task", "says"),
    [
        (
            "masked-lm",
            {"template": "{text} It was"},
            r"task\.template has no \[MASK\]: write it where the masked model",
        ),
        ("causal-lm", {"template": "{text} [MASK]"}, r"holds \[MASK\], which head 'causal-lm' does not fill"),
        ("masked-lm", {"template": "{text} [MASK] [MASK]"}, r"template has 2 \[MASK\]; a masked model predicts at one"),
        (
            "masked-lm",
            {"label_words": None, "options": ["{a}", "{b}"]},
            "own options and target texts need head 'causal",
        ),
        ("masked-lm", {"label_words": None, "target": "{a}", "label_column": None}, "need head 'causal-lm'"),
        ("masked-lm", {"label_words": None, "labels": ["a", "b"]}, "head 'masked-lm' needs task.label_words"),
        (
            "causal-lm",
            {"label_words": None, "options": ["{a}", "{b}"], "metric": "f1"},
            "options differ from row to row",
        ),
        ("causal-lm", {"template": "{text}", "metric": "token-f1"}, "metric token-f1 does not fit label_words"),
    ],
)
def test_tasks_that_do_not_suit_the_head_are_refused(head, task, says):
    values = {"template": "{text} [MASK]", "label_column": "label", "label_words": WORDS, **task}
    with pytest.raises(ValueError, match=says):
        RunConfig.model_validate(
            {
                "name": "t",
                "data": {"train": "x", "num_examples": 99},
                "task": values,
                "model": {"path": "m", "head": head},
                "method": {"name": "mezo"},
            }
        )


def test_rows_bring_their_own_options_and_different_numbers_of_them():
    (example,) = PromptEncoder(own(), small()).encode([{"text": "food", "a": "good", "b": "not good", "label": 1}])
    assert example.option_ids == ((10,), (8, 10))
    assert example.label == 1
    task = own(["{choices|each}"])
    rows = [
        {"text": "food", "choices": ["good", "terrible", "good"], "label": "terrible"},
        {"text": "food", "choices": ["good", "great", "not good"], "label": ["not good", "great"]},
    ]
    first, second = PromptEncoder(task, small()).encode(rows)
    assert (first.option_ids, first.label) == (((10,), (7,)), 1)
    assert (len(second.option_ids), second.label, second.also_right) == (3, 1, (2,))


@pytest.mark.parametrize(
    ("options", "row", "says"),
    [
        (["{c|each}"], {"c": [SECRET], "label": SECRET}, "at least two options are needed, each with a token"),
        (["{c|each}"], {"c": [], "label": SECRET}, "column 'c' holds an empty list"),
        (["{c|each}"], {"c": ["good", "great"], "label": SECRET}, "holds no right option: one of the row's options"),
        (["{a}", "{b}"], {"a": "good", "b": SECRET, "label": 2}, "holds no right option: a number from 0 to 1"),
        (["{a}", "{b}"], {"a": "good", "b": "", "label": 1}, "at least two options are needed"),
        (["{a}", "{b}"], {"a": "good", "b": [SECRET], "label": 1}, r"'b' holds a list; write \{b\|first\}"),
    ],
)
def test_rows_without_a_choice_are_refused_by_their_number(options, row, says):
    with pytest.raises(ValueError, match=rf"data\.train, row 1: .*{says}") as caught:
        PromptEncoder(own(options), small()).encode([{"text": SECRET, **row}])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"), [(["{a}"], "at least two templates"), (["{c|each}", "{a}"], "the only one")]
)
def test_options_that_are_no_choice_are_refused(options, says):
    with pytest.raises(ValueError, match=rf"task\.options.*{says}"):
        PromptEncoder(own(options), small())
