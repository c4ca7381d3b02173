"""Every task of the catalogue on rows of its own columns, as its data set has them, read from a local file."""

import json

import pytest

from tests.support.models import tokenizer as small_tokenizer
from trainers.config import RunConfig
from trainers.data.prompts import PromptEncoder, public_examples
from trainers.data.sources import check_source, read_rows
from trainers.tasks.catalogue import catalogue, find_task
from trainers.tasks.task import CAUSAL, CLASSES, MASKED

PAIR = {"premise": "The man sleeps.", "hypothesis": "He rests.", "label": 1}
ROWS = {
    "sst2": {"sentence": "a charming journey ", "label": 1, "idx": 0},
    "sst5": {"text": "a charming journey", "label": 4, "label_text": "very positive"},
    "snli": PAIR,
    "mnli": {**PAIR, "idx": 0},
    "rte": {**PAIR, "idx": 0},
    "qnli": {"question": "Who sleeps?", "sentence": "The man sleeps.", "label": 0, "idx": 0},
    "trec": {"text": "Who sleeps ?", "label": 5, "label_coarse_original": "HUM", "label_original": "HUM:ind"},
    "cb": {**PAIR, "idx": 0},
    "boolq": {"passage": "Men sleep.", "question": "do men sleep", "label": 1, "idx": 0},
    "wsc": {
        "text": "Mark told Pete lies about himself.",
        "span1_text": "Mark",
        "span2_text": "himself",
        "span1_index": 0,
        "span2_index": 5,
        "label": 1,
    },
    "wic": {"word": "place", "sentence1": "Put it in its place.", "sentence2": "A place to eat.", "label": 0},
    "copa": {
        "premise": "My body cast a shadow. ",
        "choice1": "The sun was rising.",
        "choice2": "The grass was cut.",
        "question": "cause",
        "label": 0,
    },
    "multirc": {
        "paragraph": "Men sleep.",
        "question": "Who sleeps?",
        "answer": "Men",
        "label": 1,
        "idx": {"answer": 0},
    },
    "record": {
        "passage": "Ann met Bob.\n@highlight\nThey met.",
        "query": "@placeholder was met by Ann",
        "entities": ["Ann", "Bob", "Ann", "Robert"],
        "answers": ["Bob", "Robert"],
    },
    "squad": {
        "title": "Sleep",
        "context": "Men sleep at night.",
        "question": "  When do men sleep?",
        "answers": {"text": ["at night", "night"], "answer_start": [10, 13]},
    },
    "drop": {
        "passage": "Bears won 20-3.",
        "question": "Who won?",
        "answers_spans": {"spans": ["Bears"], "types": ["span"]},
    },
}
CAUSAL_TEXTS = {
    "sst2": ("a charming journey It was", [" terrible", " great"], 1),
    "sst5": ("a charming journey It was", [" terrible", " bad", " okay", " good", " great"], 4),
    "rte": ('The man sleeps.\nDoes this mean that "He rests." is true? Yes or No?\n', ["Yes", "No"], 1),
    "boolq": ("Men sleep. Do men sleep?\n", ["No", "Yes"], 1),
    "wsc": (
        'Mark told Pete lies about himself.\nIn the previous sentence, does the pronoun "himself" refer to Mark? Yes '
        "or No?\n",
        ["No", "Yes"],
        1,
    ),
    "copa": ("My body cast a shadow because", [" the sun was rising.", " the grass was cut."], 0),
    "record": (
        "Ann met Bob.\n- They met.\n-",
        [" Ann was met by Ann", " Bob was met by Ann", " Robert was met by Ann"],
        1,
    ),
    "squad": ("Title: Sleep\nContext: Men sleep at night.\nQuestion: When do men sleep?\nAnswer:", [" at night\n"], 0),
    "drop": ("Passage: Bears won 20-3.\nQuestion: Who won?\nAnswer:", [" Bears\n"], 0),
}
MASKED_TEXTS = {
    "sst2": "a charming journey It was<mask>.",
    "snli": "The man sleeps?<mask>, he rests.",
    "trec": "<mask>: Who sleeps ?",
    "qnli": "Who sleeps?<mask>, the man sleeps.",
}


def configured(name: str, head: str, **more) -> RunConfig:
    values = {"name": "t", "task": {"name": name}, "model": {"path": "m", "head": head}, "method": {"name": "mezo"}}
    return RunConfig.model_validate({**values, "data": {"num_examples": 100}, **more})


@pytest.fixture(scope="module")
def bpe():
    """Byte-level BPE with enough words for every prompt, and RoBERTa's way with its mask."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = [word for task in catalogue().values() for prompt in task.prompts.values() for word in prompt.words]
    trainer = trainers.BpeTrainer(
        vocab_size=5000,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"it{word} and" for word in words] * 5, trainer)
    mask = AddedToken("<mask>", lstrip=True, special=True)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", mask_token=mask)


def write(folder, name: str) -> str:
    path = folder / f"{name}.jsonl"
    path.write_text(json.dumps(ROWS[name]) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("name", "head"), [(name, head) for name, task in catalogue().items() for head in task.prompts]
)
def test_every_task_is_read_from_a_local_file_and_encoded(tmp_path, bpe, name, head):
    task = configured(name, head).task
    path = write(tmp_path, name)
    check_source(path, task.columns)
    encoder = PromptEncoder(task, bpe)
    (example,) = encoder.encode(read_rows(path, task.columns))
    if name in CAUSAL_TEXTS and head == CAUSAL:
        prompt, options, label = CAUSAL_TEXTS[name]
        assert bpe.decode(example.prompt_ids) == prompt
        assert [bpe.decode(ids, skip_special_tokens=True) for ids in example.option_ids] == options
        assert example.label == label
    if head == MASKED:
        assert example.prompt_ids[example.mask_place] == bpe.mask_token_id
        assert all(len(option) == 1 for option in example.option_ids)
        assert bpe.decode(example.prompt_ids) == MASKED_TEXTS.get(name, bpe.decode(example.prompt_ids))
    assert len(set(public_examples(task, bpe, 4))) == 4
    assert len({len(one.option_ids) for one in public_examples(task, bpe, 4)}) == 1


def test_the_tasks_of_the_issue_are_there():
    wanted = "sst2 sst5 snli mnli rte trec cb boolq wsc wic copa multirc record squad drop qnli"
    assert set(catalogue()) == set(wanted.split())
    with_masks = {name for name, task in catalogue().items() if MASKED in task.prompts}
    assert with_masks == {"sst2", "sst5", "snli", "mnli", "rte", "trec", "qnli"}
    assert all(CAUSAL in task.prompts for task in catalogue().values())


def test_an_example_may_have_several_right_answers(bpe):
    (example,) = PromptEncoder(configured("record", CAUSAL).task, bpe).encode([ROWS["record"]])
    assert [example.is_right(option) for option in range(3)] == [False, True, True]
    squad = configured("squad", CAUSAL).task
    row = {**ROWS["squad"], "answers.text": ["at night", "night"]}
    (example,) = PromptEncoder(squad, bpe).encode([row])
    assert example.references == ("at night", "night")


def test_rows_without_a_label_are_left_out(bpe):
    encoder = PromptEncoder(configured("snli", CAUSAL).task, bpe)
    rows = [PAIR, {**PAIR, "label": -1}, {**PAIR, "label": "2"}]
    assert [example.label for example in encoder.encode(rows)] == [1, 2]
    with pytest.raises(ValueError, match=r"data\.train, row 3: column 'label' holds none"):
        encoder.encode([*rows[:2], {**PAIR, "label": 7}])


def test_what_is_given_stays_and_the_rest_is_filled_in():
    task = configured("sst2", CAUSAL, task={"name": "sst2", "template": "{sentence} is", "max_tokens": 9}).task
    assert (task.template, task.max_tokens, task.label_column) == ("{sentence} is", 9, "label")
    assert task.label_words == {"0": " terrible", "1": " great"}
    own = {"name": "sst2", "target": " {label_text}"}
    with pytest.raises(ValueError, match="metric accuracy does not fit target"):
        configured("sst2", CAUSAL, task=own)
    assert configured("sst2", CAUSAL, task={**own, "metric": "token-f1"}).task.label_words is None


def test_data_come_from_the_hub_unless_a_file_is_named():
    assert configured("mnli", MASKED).data.train == "hub:nyu-mll/glue/mnli:train"
    assert configured("mnli", MASKED).data.validation == "hub:nyu-mll/glue/mnli:validation_matched"
    for name in catalogue():
        for source in find_task(name).sources().values():
            check_source(source, ["text"])  # spelt as the hub wants it
    local = configured("mnli", MASKED, data={"train": "mine.tsv", "num_examples": 99}).data
    assert (local.train, local.validation) == ("mine.tsv", None)


def test_a_filled_configuration_is_read_again_as_it_is():
    config = configured("copa", CAUSAL)
    assert RunConfig.model_validate(config.model_dump()) == config
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("name", "head", "says"),
    [
        ("sst3", CAUSAL, "there is no task 'sst3' in the catalogue. Did you mean 'sst5'"),
        ("BOOL_Q", CAUSAL, "Did you mean 'boolq'"),
        ("squad", MASKED, "squad has no prompt for head 'masked-lm'; it has one for causal-lm"),
        ("copa", CLASSES, "copa has no prompt for head 'sequence-classification'"),
    ],
)
def test_an_unknown_name_and_a_missing_prompt_are_refused(name, head, says):
    with pytest.raises(ValueError, match=says):
        configured(name, head)


def test_label_words_of_several_tokens_are_refused_with_their_pieces(bpe):
    task = configured("sst2", MASKED, task={"name": "sst2", "label_words": {"0": "dreadful", "1": "great"}}).task
    with pytest.raises(
        ValueError, match=r"'dreadful' \(label '0'\) is \d+ tokens of this model, .*'d', .*predicts one"
    ):
        PromptEncoder(task, bpe)
    plain = small_tokenizer()
    plain.mask_token = None
    with pytest.raises(ValueError, match=r"task\.template holds \[MASK\], and this model's tokenizer has no mask"):
        PromptEncoder(task, plain)
