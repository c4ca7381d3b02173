import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.config import TaskConfig
from trainers.data.prompts import PromptEncoder, public_examples
from trainers.data.sources import read_rows
from trainers.evaluators.base import Example

WORDS = {"0": " terrible", "1": " great"}
ROWS = [{"text": "the film was good", "label": "1"}, {"text": "the soup was late", "label": 0}]
SECRET = "Wachtelkoenig"


def _words(template="{text} It was", words=WORDS, **more):
    return TaskConfig(template=template, label_column="label", label_words=words, **more)


def _classes(**more):
    return TaskConfig(template="{text}", label_column="label", labels=["0", "1"], **more)


def _generation(target=" {answer}", **more):
    return TaskConfig(template="{text} It was", target=target, **more)


@pytest.mark.parametrize("kind", ["gpt_like", "bos_like", "eos_like", "blank_like"])
def test_prompt_and_option_are_the_tokens_of_the_whole_sentence(request, kind):
    tokenizer = request.getfixturevalue(kind)
    for example, row in zip(PromptEncoder(_words(), tokenizer).encode(ROWS), ROWS, strict=True):
        for word, option in zip(WORDS.values(), example.option_ids, strict=True):
            whole = tuple(tokenizer(f"{row['text']} It was{word}")["input_ids"])
            without_eos = whole[:-1] if kind == "eos_like" else whole
            assert (*example.prompt_ids, *option) == without_eos
        assert example.label == int(row["label"])


def test_a_prompt_never_ends_in_eos(eos_like):
    (example,) = PromptEncoder(_words(), eos_like).encode(ROWS[:1])
    assert example.prompt_ids[0] == eos_like.bos_token_id
    assert eos_like.eos_token_id not in example.prompt_ids


def test_a_classification_head_reads_the_tokenizers_own_prompt(bert_like):
    examples = PromptEncoder(_classes(), bert_like).encode(ROWS)
    assert [example.label for example in examples] == [1, 0]
    assert all(example.option_ids == () for example in examples)
    assert list(examples[0].prompt_ids) == bert_like("the film was good", padding=False)["input_ids"]


def test_a_long_prompt_loses_its_beginning_and_keeps_its_special_tokens(bos_like, bert_like):
    row = {"text": "the sea " * 50 + "was loud", "label": "1"}
    (long,) = PromptEncoder(_words(), bos_like).encode([row])
    (cut,) = PromptEncoder(_words(max_tokens=12), bos_like).encode([row])
    assert len(long.prompt_ids) > 12
    assert cut.prompt_ids == (bos_like.bos_token_id, *long.prompt_ids[-11:])
    (cut,) = PromptEncoder(_classes(max_tokens=4), bert_like).encode([row])
    assert cut.prompt_ids == (2, *bert_like.convert_tokens_to_ids(["was", "loud"]), 3)


def test_a_limit_without_room_for_text_is_refused(bert_like):
    PromptEncoder(_classes(max_tokens=3), bert_like)
    with pytest.raises(ValueError, match=r"task.max_tokens 2 leaves no room .* the tokenizer's 2 special tokens"):
        PromptEncoder(_classes(max_tokens=2), bert_like)


def test_a_target_is_one_option_that_ends_in_eos(bos_like, bert_like):
    rows = [{"text": "the film", "answer": "good enough"}]
    (example,) = PromptEncoder(_generation(), bos_like).encode(rows)
    whole = tuple(bos_like("the film It was good enough")["input_ids"])
    assert (*example.prompt_ids, *example.option_ids[0]) == (*whole, bos_like.eos_token_id)
    assert (len(example.option_ids), example.label) == (1, 0)
    (example,) = PromptEncoder(_generation(), bert_like).encode(rows)
    assert example.option_ids == (tuple(bert_like.convert_tokens_to_ids(["good", "enough"])),)


def test_a_long_target_loses_its_end_and_eos(bos_like):
    rows = [{"text": "the film", "answer": "good and " * 20}, {"text": "the film", "answer": "good"}]
    cut, whole = PromptEncoder(_generation(max_tokens=8), bos_like).encode(rows)
    assert bos_like.decode(cut.option_ids[0]).startswith(" good and good and")
    assert len(cut.option_ids[0]) == 8
    assert bos_like.eos_token_id not in cut.option_ids[0]
    assert whole.option_ids[0][-1] == bos_like.eos_token_id


def test_a_target_that_would_merge_with_the_prompt_is_tokenised_alone(gpt_like):
    task = TaskConfig(template="{text} It wa", target="{answer}")
    (example,) = PromptEncoder(task, gpt_like).encode([{"text": "the film", "answer": "s"}])
    assert example.option_ids == ((*gpt_like("s")["input_ids"], gpt_like.eos_token_id),)


def test_a_target_without_a_token_is_refused(gpt_like, bert_like):
    rows = [{"text": SECRET, "answer": "good"}, {"text": SECRET, "answer": ""}]
    with pytest.raises(ValueError, match=r"data\.train, row 2: the target has no token") as caught:
        PromptEncoder(_generation("{answer}"), gpt_like).encode(rows)
    assert SECRET not in str(caught.value)
    with pytest.raises(ValueError, match=r"data\.validation, row 2: the target has no token"):
        PromptEncoder(_generation(), bert_like).encode(rows, "data.validation")


def test_a_prompt_without_a_token_is_refused_where_something_must_follow(gpt_like, bos_like, bert_like):
    rows = [{"text": "the film", "label": "1"}, {"text": "", "label": "1"}]
    with pytest.raises(ValueError, match="row 2: the prompt has no token"):
        PromptEncoder(_words("{text}"), gpt_like).encode(rows)
    assert PromptEncoder(_words("{text}"), bos_like).encode(rows)[1].prompt_ids == (bos_like.bos_token_id,)
    assert PromptEncoder(_classes(), bert_like).encode(rows)[1].prompt_ids == (2, 3)


@pytest.mark.parametrize(
    ("zero", "one", "says"),
    [
        ("", " great", r"'' \(label '0'\) has no token in this model's vocabulary"),
        (" terrible", "s", r"'s' \(label '1'\) merges with the end of task.template"),
        (" great", " great", "' great' has the same tokens as ' great', so one does not exclude the other"),
        (" good enough", " good", "' good' is, in tokens, the beginning of ' good enough'"),
    ],
)
def test_label_words_that_cannot_be_told_apart_are_refused(zero, one, says, gpt_like):
    with pytest.raises(ValueError, match="task.label_words: " + says):
        PromptEncoder(_words("{text} It wa", {"0": zero, "1": one}), gpt_like)


def test_a_label_word_after_a_template_that_ends_in_a_blank_is_refused(gpt_like):
    with pytest.raises(ValueError, match="begin it with a space and end the template without one"):
        PromptEncoder(_words("{text} It was ", {"0": "terrible", "1": "great"}), gpt_like)


def test_label_words_with_a_common_first_token_are_accepted(gpt_like):
    (example,) = PromptEncoder(_words(words={"0": " good enough", "1": " good and great"}), gpt_like).encode(ROWS[:1])
    assert example.option_ids[0][0] == example.option_ids[1][0]


def test_label_words_outside_the_vocabulary_are_refused(bert_like):
    with pytest.raises(ValueError, match=r"' awful' \(label '0'\) is unknown to the model's tokenizer"):
        PromptEncoder(_words(words={"0": " awful", "1": " great"}), bert_like)
    with pytest.raises(ValueError, match=r"'  ' \(label '0'\) has no token"):
        PromptEncoder(_words(words={"0": "  ", "1": " great"}), bert_like)


def test_an_unknown_label_names_the_row_and_what_is_allowed_but_not_the_value(gpt_like, bert_like):
    rows = [*ROWS, {"text": SECRET, "label": SECRET}]
    for encoder in (PromptEncoder(_words(), gpt_like), PromptEncoder(_classes(), bert_like)):
        with pytest.raises(ValueError, match=r"data.train, row 3: column 'label' holds none .* '0', '1'\.") as caught:
            encoder.encode(rows)
        assert SECRET not in str(caught.value)
    many = _words(words={str(number): f" good {number}" for number in range(10, 40)})
    with pytest.raises(ValueError, match="'21' and 18 more"):
        PromptEncoder(many, gpt_like).encode(rows)


def test_labels_are_compared_as_text(gpt_like):
    task = _words(words={"false": " terrible", "true": " great", "3": " good"})
    rows = [{"text": "the film", "label": label} for label in (True, "true", False, 3, "3")]
    assert [example.label for example in PromptEncoder(task, gpt_like).encode(rows)] == [1, 1, 0, 2, 2]


def test_a_template_that_tells_the_answer_is_refused(gpt_like):
    with pytest.raises(ValueError, match="holds the label column 'label': the prompt would tell the answer"):
        PromptEncoder(_words("{text} {label} It was"), gpt_like)


def test_a_row_without_its_column_is_refused(gpt_like):
    with pytest.raises(ValueError, match=r"data\.train, row 2: column 'text' is missing or null") as caught:
        PromptEncoder(_words(), gpt_like).encode([ROWS[0], {"txt": SECRET, "label": "1"}])
    assert SECRET not in str(caught.value)


@given(rows=st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["0", "1"])), min_size=1, max_size=8))
def test_an_example_depends_on_its_own_row_alone(bos_like, rows):
    encoder = PromptEncoder(_words(max_tokens=10), bos_like)
    rows = [{"text": text, "label": label} for text, label in rows]
    together = encoder.encode(rows)
    assert together == [encoder.encode([row])[0] for row in rows]
    assert together[1:] == encoder.encode(rows[1:])


def test_no_rows_are_no_examples(gpt_like):
    assert PromptEncoder(_words(), gpt_like).encode([]) == []


def test_public_examples_need_no_row(bos_like, bert_like):
    for task, tokenizer in ((_words(), bos_like), (_classes(), bert_like)):
        examples = public_examples(task, tokenizer, 5)
        assert [example.label for example in examples] == [0, 1, 0, 1, 0]
        assert len(set(examples)) == 5
        assert examples == public_examples(task, tokenizer, 5)
    examples = public_examples(_generation(), bos_like, 3)
    assert len({example.option_ids for example in examples}) == 3
    assert all(isinstance(example, Example) and example.label == 0 for example in examples)


def test_sst2_is_encoded(bos_like):
    path = Path(os.environ.get("DPZO_BENCH_DATA", "../shared/data")) / "sst2" / "validation.tsv"
    if not path.is_file():
        pytest.skip(f"no {path}: set DPZO_BENCH_DATA to a folder that has sst2/validation.tsv")
    rows = read_rows(str(path), ["sentence", "label"])
    task = TaskConfig(template="{sentence}It was", label_column="label", label_words=WORDS)
    examples = PromptEncoder(task, bos_like).encode(rows)
    assert [example.label for example in examples] == [int(row["label"]) for row in rows]
    assert bos_like.decode(examples[0].prompt_ids) == "<s>it 's a charming and often affecting journey . It was"


def test_labels_in_other_spellings_are_found_and_skipped(bos_like):
    task = _words(skip_labels=["-1"])
    rows = [{"text": "the film was good", "label": label} for label in (1.0, "0.0", [1], -1.0, "-1", True)]
    encoder = PromptEncoder(task, bos_like)
    assert [example.label for example in encoder.encode(rows[:5])] == [1, 0, 1]
    with pytest.raises(ValueError, match=r"row 6: column 'label' holds none of the task's labels"):
        encoder.encode(rows)


@pytest.mark.parametrize("template", ["<s>{text} It was", "<s> {text} It was"])
def test_a_start_token_in_the_template_is_not_a_second_one(bos_like, gpt_like, template):
    plain, own = (PromptEncoder(_words(text), bos_like).encode(ROWS) for text in ("{text} It was", template))
    assert own == plain
    assert plain[0].prompt_ids.count(bos_like.bos_token_id) == 1
    (first, *_) = PromptEncoder(_words(template), gpt_like).encode(ROWS)  # this tokenizer adds none
    assert first.prompt_ids.count(gpt_like.bos_token_id) == 1
