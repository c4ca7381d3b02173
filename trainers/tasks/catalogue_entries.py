"""The entries of the catalogue.

Prompts of causal models come from Malladi et al. (2023), arXiv:2305.17333, table 14. Prompts of masked models come from
Gao et al. (2021), arXiv:2012.15723, table 1, which Malladi et al. and the private papers also use. Both papers leave
tasks out: "own" marks a causal prompt of ours, written after the pattern of theirs. A classification head reads the
columns one after the other.
"""

from trainers.tasks.task import CAUSAL, CLASSES, MASKED, Prompt, Task

_YES_NO = ("No", "Yes")
_FIVE = (" terrible", " bad", " okay", " good", " great")
_SURE = ("Yes", "Maybe", "No")
_SURE_AT_MASK = (" Yes", " Maybe", " No")
_KINDS = (" Expression", " Entity", " Description", " Human", " Location", " Number")
_NLI = {
    CAUSAL: Prompt('Suppose {premise} Can we infer that "{hypothesis}"? Yes, No, or Maybe?\n', _SURE),
    MASKED: Prompt("{premise|open}? [MASK], {hypothesis|lower}", _SURE_AT_MASK),
    CLASSES: Prompt("{premise} {hypothesis}"),
}
_CB_WORDS = ("Yes", "No", "Maybe")

TASKS: dict[str, Task] = {
    "sst2": Task(
        "SST-2",
        "nyu-mll/glue/sst2",
        {
            CAUSAL: Prompt("{sentence|stripped} It was", (" terrible", " great")),
            MASKED: Prompt("{sentence|stripped} It was [MASK].", (" terrible", " great")),
            CLASSES: Prompt("{sentence}"),
        },
        labels=("0", "1"),
    ),
    "sst5": Task(
        "SST-5",
        "SetFit/sst5",
        {
            CAUSAL: Prompt("{text|stripped} It was", _FIVE),  # own
            MASKED: Prompt("{text|stripped} It was [MASK].", _FIVE),
            CLASSES: Prompt("{text}"),
        },
        labels=("0", "1", "2", "3", "4"),
    ),
    "snli": Task("SNLI", "stanfordnlp/snli", _NLI, labels=("0", "1", "2"), skip_labels=("-1",)),  # causal: own
    "mnli": Task(
        "MNLI",
        "nyu-mll/glue/mnli",
        _NLI,  # causal: own
        labels=("0", "1", "2"),
        splits=("train", "validation_matched"),
    ),
    "rte": Task(
        "RTE",
        "aps/super_glue/rte",
        {
            CAUSAL: Prompt('{premise}\nDoes this mean that "{hypothesis}" is true? Yes or No?\n', ("Yes", "No")),
            MASKED: Prompt("{premise|open}? [MASK], {hypothesis|lower}", (" Yes", " No")),
            CLASSES: Prompt("{premise} {hypothesis}"),
        },
        labels=("0", "1"),
    ),
    "qnli": Task(
        "QNLI",
        "nyu-mll/glue/qnli",
        {
            CAUSAL: Prompt(
                '{sentence}\nDoes this answer the question "{question}"? Yes or No?\n', ("Yes", "No")
            ),  # own
            MASKED: Prompt("{question|open}? [MASK], {sentence|lower}", (" Yes", " No")),
            CLASSES: Prompt("{question} {sentence}"),
        },
        labels=("0", "1"),
    ),
    "trec": Task(
        "TREC",
        "SetFit/TREC-QC",
        {
            CAUSAL: Prompt("{text}\nThe answer is of the kind:", _KINDS),  # own
            MASKED: Prompt("[MASK]: {text}", _KINDS),
            CLASSES: Prompt("{text}"),
        },
        labels=("ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"),
        splits=("train", "test"),
        label_column="label_coarse_original",
    ),
    "cb": Task(
        "CB",
        "aps/super_glue/cb",
        {
            CAUSAL: Prompt('Suppose {premise} Can we infer that "{hypothesis}"? Yes, No, or Maybe?\n', _CB_WORDS),
            CLASSES: Prompt("{premise} {hypothesis}"),
        },
        labels=("0", "1", "2"),
    ),
    "boolq": Task(
        "BoolQ",
        "aps/super_glue/boolq",
        {CAUSAL: Prompt("{passage} {question|ask}\n", _YES_NO), CLASSES: Prompt("{passage} {question}")},
        labels=("0", "1"),
    ),
    "wsc": Task(
        "WSC",
        "aps/super_glue/wsc.fixed",
        {
            CAUSAL: Prompt(
                '{text}\nIn the previous sentence, does the pronoun "{span2_text}" refer to {span1_text}? Yes or No?\n',
                _YES_NO,
            ),
            CLASSES: Prompt("{text} {span2_text} {span1_text}"),
        },
        labels=("0", "1"),
    ),
    "wic": Task(
        "WiC",
        "aps/super_glue/wic",
        {
            CAUSAL: Prompt(
                'Does the word "{word}" have the same meaning in these two sentences? Yes, No?\n'
                "{sentence1}\n{sentence2}\n",
                _YES_NO,
            ),
            CLASSES: Prompt("{word} {sentence1} {sentence2}"),
        },
        labels=("0", "1"),
    ),
    "copa": Task(
        "COPA",
        "aps/super_glue/copa",
        {CAUSAL: Prompt("{premise|open} {question|connective}", options=(" {choice1|lower}", " {choice2|lower}"))},
    ),
    "multirc": Task(
        "MultiRC",
        "aps/super_glue/multirc",
        {
            CAUSAL: Prompt(
                '{paragraph}\nQuestion: {question}\nI found this answer "{answer}". Is that correct? Yes or No?\n',
                _YES_NO,
            ),
            CLASSES: Prompt("{paragraph} {question} {answer}"),
        },
        labels=("0", "1"),
        metric="f1",
    ),
    "record": Task(
        "ReCoRD",
        "aps/super_glue/record",
        {CAUSAL: Prompt("{passage|highlights}\n-", options=(" {query|cloze:entities}",))},
        label_column="answers",
    ),
    "squad": Task(
        "SQuAD",
        "rajpurkar/squad",
        {
            CAUSAL: Prompt(
                "Title: {title}\nContext: {context}\nQuestion: {question|stripped}\nAnswer:",
                target=" {answers.text|first}\n",
            )
        },
        label_column=None,
        metric="token-f1",
    ),
    "drop": Task(
        "DROP",
        "ucinlp/drop",
        {
            CAUSAL: Prompt(
                "Passage: {passage}\nQuestion: {question|stripped}\nAnswer:",
                target=" {answers_spans.spans|first}\n",
            )
        },
        label_column=None,
        metric="token-f1",
    ),
}
