import json
import re
from pathlib import Path

import pytest

from trainers.data.tokenization import TextEncoder, check_tokenizer, load_tokenizer

ANCHOR = "the film It was"


def test_a_saved_tokenizer_is_loaded(tmp_path, bert_like):
    bert_like.save_pretrained(tmp_path)
    check_tokenizer(str(tmp_path))
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.pad_token == "[PAD]"
    assert TextEncoder(loaded, ANCHOR).encode(["great film"]) == TextEncoder(bert_like, ANCHOR).encode(["great film"])


@pytest.mark.parametrize(("kind", "pad"), [("bos_like", "</s>"), ("blank_like", "</s>")])
def test_a_missing_padding_token_becomes_eos(tmp_path, request, kind, pad):
    request.getfixturevalue(kind).save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.pad_token == pad
    assert loaded.pad_token_id == loaded.eos_token_id


@pytest.mark.parametrize("specials", [{"unk_token": "[UNK]"}, {}])
def test_without_eos_the_padding_token_is_unk_and_without_either_a_refusal(tmp_path, bert_like, specials):
    bert_like.save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **specials})
    )
    (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)
    if specials:
        assert load_tokenizer(str(tmp_path)).pad_token == "[UNK]"
    else:
        with pytest.raises(ValueError, match="has no padding, end or unknown token; set its pad_token"):
            load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama"])
def test_a_model_folder_without_a_tokenizer_is_refused(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    says = (
        f"model.path: folder {tmp_path} has no tokenizer (tokenizer.json or a vocabulary). Save the model's own there "
    )
    for act in (check_tokenizer, load_tokenizer):
        with pytest.raises(ValueError, match=re.escape(says) + "with tokenizer.save_pretrained"):
            act(str(tmp_path))


def test_a_missing_folder_is_refused_without_asking_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "demo").mkdir(parents=True)
    says = f"there is no folder models/deom, seen from the working directory {Path.cwd()}. Did you mean models/demo?"
    with pytest.raises(ValueError, match=re.escape(says)):
        load_tokenizer("models/deom")
    for path in ("./nothing", str(tmp_path / "nothing"), "a/b/c", "~/model", "model:1"):
        with pytest.raises(ValueError, match=r"model\.path: there is no folder"):
            check_tokenizer(path)
    for name in ("gpt2", "facebook/opt-125m"):
        check_tokenizer(name)


@pytest.mark.parametrize("content", ["{bad", "{}", '{"version": "1.0", "model": {"type": "BPE", "merges": [1]}}'])
def test_a_damaged_tokenizer_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ValueError, match=r"model\.path: no tokenizer could be loaded from") as caught:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_a_pointer_to_a_file_that_was_never_fetched_is_refused(tmp_path, model_type):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ValueError, match=r"tokenizer\.json .* is not JSON\. .* fetch the file"):
        check_tokenizer(str(tmp_path))


def test_what_stands_around_a_text_is_found(gpt_like, bos_like, eos_like, bert_like):
    found = [TextEncoder(tokenizer, ANCHOR) for tokenizer in (gpt_like, bos_like, eos_like, bert_like)]
    assert [(one.prefix, one.suffix) for one in found] == [((), ()), ((0,), ()), ((0,), (1,)), ((2,), (3,))]
    assert [one.end for one in found] == [(1,), (1,), (1,), ()]
    for tokenizer, one in zip((gpt_like, bos_like, eos_like), found, strict=False):
        whole = tuple(tokenizer("the sea was loud")["input_ids"])
        assert (*one.prefix, *one.encode(["the sea was loud"])[0], *one.suffix) == whole


def test_the_padding_and_truncation_of_a_tokenizer_file_are_not_used(bert_like):
    encoder = TextEncoder(bert_like, ANCHOR)
    assert [len(ids) for ids in encoder.encode(["great", "great " * 50, ""])] == [1, 50, 0]


def test_a_text_has_the_same_ids_alone_and_among_others(bos_like):
    encoder = TextEncoder(bos_like, ANCHOR)
    texts = [f"the film number {index} was great" + " and" * (index % 7) for index in range(4100)]
    together = encoder.encode(texts)
    assert together == [encoder.encode([text])[0] for text in texts]


def test_what_follows_a_prompt_is_tokenised_as_its_continuation(blank_like):
    encoder = TextEncoder(blank_like, ANCHOR)
    (joint,) = encoder.encode_after_prompt([" great"])
    alone = encoder.encode([" great"])[0]
    assert joint != alone, "the tokenizer puts a blank before a text of its own"
    assert (*encoder.encode([ANCHOR])[0], *joint) == encoder.encode([ANCHOR + " great"])[0]
    assert blank_like.decode((*encoder.encode([ANCHOR])[0], *joint)) == "the film It was great"


def test_what_merges_with_the_prompt_is_told(gpt_like):
    encoder = TextEncoder(gpt_like, "the film It wa")
    assert encoder.encode_after_prompt(["s", " great"])[0] is None


def test_a_tokenizer_without_a_token_for_the_template_is_refused(bert_like):
    with pytest.raises(ValueError, match=r"finds no token in task\.template"):
        TextEncoder(bert_like, "  ")


class _Odd:
    """Puts a special token between any two."""

    eos_token_id = unk_token_id = None

    def __call__(self, texts, add_special_tokens=True, **_):
        ids = [[5, 9, 6] if add_special_tokens else [5, 6]]
        return {"input_ids": ids[0] if isinstance(texts, str) else ids}


def test_special_tokens_inside_a_text_are_refused():
    with pytest.raises(ValueError, match="puts special tokens into a text"):
        TextEncoder(_Odd(), ANCHOR)  # type: ignore[arg-type]
