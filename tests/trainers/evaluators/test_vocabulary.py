"""Token ids that the embedding lacks are refused where a row has them, and nowhere else."""

import math

import pytest

from tests.support.models import save_model, tokenizer
from trainers.evaluators.base import Example
from trainers.evaluators.model_files import limits
from trainers.evaluators.vocabulary import constant_examples, padding_id, require_context, require_ids_fit

FITS = Example((1, 13), ((13,), (2, 0)), 0)


def test_only_ids_in_the_data_must_fit():
    require_ids_fit([FITS, Example((1,), (), 0)], 14, "data.train")
    for example in (Example((14, 1), (), 0), Example((1,), ((0,), (0, 14)), 0)):
        with pytest.raises(ValueError, match=r"^data\.train: a row .* has a token whose id is not among the 14 of"):
            require_ids_fit([FITS, example], 14, "data.train")


def test_rows_are_filled_with_an_id_that_the_model_has():
    longer = tokenizer()
    assert padding_id(longer, 14) == 0
    longer.add_special_tokens({"pad_token": "<unheard>"})
    assert longer.pad_token_id == 14
    assert padding_id(longer, 15) == 14
    assert padding_id(longer, 14) == longer.eos_token_id


def test_the_size_is_that_of_the_model_or_of_an_adapters_base(tmp_path):
    save_model(tmp_path / "base", "opt")
    assert limits(str(tmp_path / "base"), "causal-lm") == (14, math.inf)
    assert limits(str(save_model(tmp_path / "rotary", "llama")), "causal-lm") == (14, 64)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "%s"}' % (tmp_path / "base"))
    assert limits(str(tmp_path), "causal-lm").num_ids == 14


def test_constant_inputs_differ():
    one, other = constant_examples(tokenizer(), "masked-lm")
    assert one.prompt_ids[0] != other.prompt_ids[0]
    assert one.prompt_ids[-1] == other.prompt_ids[-1] == tokenizer().mask_token_id


def test_rows_beyond_the_context_are_refused():
    require_context([Example((4,) * 60, ((5,) * 5, (6,)), 0)], 64)
    with pytest.raises(ValueError, match=r"^task\.max_tokens: the longest row, .* does not fit the 64 tokens"):
        require_context([Example((4,) * 60, ((5,) * 6, (6,)), 0)], 64)
