"""What every loss evaluator promises, on every architecture: whole model, linear layers alone, and LoRA."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

from tests.support.models import CAUSAL, ENCODERS, MASK_ID, save_model, tokenizer
from trainers.config import LoraConfig, ModelConfig, PerformanceConfig
from trainers.directions import Direction, direction_values
from trainers.evaluators.base import Example, Probe
from trainers.evaluators.self_test import _lengthened, require_above_rounding, require_positions, self_test
from trainers.evaluators.transformers import packing
from trainers.evaluators.transformers.evaluator import TransformersEvaluator
from trainers.mechanism.plan import MechanismPlan

PROMPTS = [(2, 10, 11, 4, 5), (2, 8, 9, 10, 12, 11, 4, 5), (2, 4, 5), (2, 9, 9, 10, 4, 5), (2, 11, 4, 5)]
ONE_TOKEN = [Example(prompt, ((7,), (6,)), n % 2) for n, prompt in enumerate(PROMPTS)]
MANY_TOKENS = [Example(prompt, ((7,), (8, 9, 6)), n % 2) for n, prompt in enumerate(PROMPTS)]
OWN_OPTIONS = [Example(p, ((7,), (8, 9), (6, 10, 11), (12,))[: 2 + n % 3], n % 2) for n, p in enumerate(PROMPTS)]
TARGET = [Example(prompt, ((6, 9, 3)[: 1 + n % 3],), 0) for n, prompt in enumerate(PROMPTS)]
CLASSES = [Example(prompt, (), n % 2) for n, prompt in enumerate(PROMPTS)]
AT_MASK = [Example((*p, MASK_ID, 3), ((7,), (6,)), n % 2, mask_place=len(p)) for n, p in enumerate(PROMPTS)]
EXAMPLES = {"causal-lm": ONE_TOKEN, "masked-lm": AT_MASK, "sequence-classification": CLASSES}


class Case(NamedTuple):
    """A kind of model that trains in one way."""

    architecture: str
    head: str
    trainable: str = "full"
    dtype: str = "float32"
    master: str = "float32"

    @property
    def folder(self) -> str:
        return f"{self.architecture}-{self.head}"


HEADS = [*((name, "causal-lm") for name in CAUSAL)]
HEADS += [(name, head) for name in ENCODERS for head in ("masked-lm", "sequence-classification")]
CASES = [Case(*of, trainable) for of in HEADS for trainable in ("full", "lora")]
CASES += [Case(*of, trainable, "bfloat16") for of, trainable in zip(HEADS, ["full", "lora"] * 4, strict=True)]
CASES += [Case(*of, "all-linear") for of in HEADS if of[0] in ("llama", "gpt2", "bert")]
CASES += [Case("roberta", "sequence-classification", "all-linear", "bfloat16")]
ENCODER_CASES = [Case(*of) for of in HEADS if of[0] in ENCODERS]
Z = [Direction(1, 0, k, kind) for k, kind in enumerate(["gaussian", "rademacher"])]
PROBES = [Probe(z, sign * 1e-2) for z in Z for sign in (1.0, -1.0)]


def open_evaluator(folder: Path, case: Case, **performance: object) -> TransformersEvaluator:
    targets = {"gpt2": ["c_attn"], "bert": ["query", "value"], "roberta": ["query", "value"]}.get(case.architecture)
    model = ModelConfig(
        path=str(folder),
        head=case.head,
        trainable=case.trainable,
        lora=LoraConfig(rank=2, target_modules=targets),
        dtype=case.dtype,
        master_dtype=case.master,
    )
    return TransformersEvaluator(
        model, PerformanceConfig.model_validate(performance), tokenizer(), num_labels=2, seed=0
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads of products this small wait for each other longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {f"{name}-{head}": save_model(root / f"{name}-{head}", name, head) for name, head in HEADS}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def opened(request, folders):
    return open_evaluator(folders[request.param.folder], request.param), request.param


@pytest.fixture
def case(opened):
    evaluator, of = opened
    evaluator.reset()
    return evaluator, EXAMPLES[of.head]


def of_architecture(folders, architecture: str, head: str = "causal-lm", **performance: object):
    case = Case(architecture, head)
    return open_evaluator(folders[case.folder], case, **performance)


def moved(evaluator: TransformersEvaluator) -> None:
    """Make an adapter's B differ from zero, so that its A matters."""
    evaluator.apply([(Direction(9, 0, 0, "gaussian"), 0.05)])


def test_probing_leaves_theta_as_it_was(case):
    evaluator, examples = case
    digest, before = evaluator.state_digest(), evaluator.losses(examples)
    evaluator.probe(examples, PROBES)
    assert evaluator.state_digest() == digest
    np.testing.assert_array_equal(evaluator.losses(examples), before)


def test_a_probe_is_an_update_and_its_reversal_is_exact(case):
    evaluator, examples = case
    moved(evaluator)
    probed = evaluator.probe(examples, [Probe(Z[0], 0.03)])[0]
    evaluator.apply([(Z[0], 0.03)])
    np.testing.assert_allclose(evaluator.losses(examples), probed, atol=1e-6)
    evaluator.reset()
    moved(evaluator)
    np.testing.assert_allclose(evaluator.probe(examples, [Probe(Z[0], 0.03)])[0], probed, rtol=0, atol=0)


def test_the_loss_moves_by_the_directional_derivative(opened, case):
    evaluator, examples = case
    if opened[1].dtype != "float32":
        pytest.skip("half precision does not resolve so small a step")
    moved(evaluator)
    plus, minus = evaluator.probe(examples, [Probe(Z[0], 2e-4), Probe(Z[0], -2e-4)])
    half_plus, half_minus = evaluator.probe(examples, [Probe(Z[0], 1e-4), Probe(Z[0], -1e-4)])
    np.testing.assert_allclose(half_plus - half_minus, (plus - minus) / 2, atol=1e-4)


def test_an_example_has_its_own_row_whatever_its_mates(opened, case):
    evaluator, examples = case
    atol = 1e-5 if opened[1].dtype == "float32" else 0.0  # fixed shapes: to the bit
    moved(evaluator)
    together = evaluator.probe(examples, PROBES)
    order = [3, 0, 4, 2, 1]
    shuffled = evaluator.probe([examples[n] for n in order], PROBES)
    alone = np.array([evaluator.probe([example], PROBES)[:, 0] for example in examples]).T
    np.testing.assert_allclose(shuffled, together[:, order], rtol=0, atol=atol)
    np.testing.assert_allclose(alone, together, rtol=0, atol=atol)


def disturb(evaluator: Any, examples: list[Example], direction: Direction) -> int:
    """Read long rows at probes that overflow, and rows of NaN; write rows of NaN; return how many losses were NaN."""
    long, lost = [_lengthened(example, 50) for example in examples], 0
    for scale in (1e4, 1e19, 3e38):
        lost += int(np.isnan(evaluator.probe(long, [Probe(direction, scale)])).sum())
    with evaluator.poisoned(range(2, 14)) as token:
        rows = [replace(example, prompt_ids=(token,) * 50) for example in examples]
        lost += int(np.isnan(evaluator.losses(rows)).sum())
        if examples[0].option_ids and examples[0].mask_place is None:
            evaluator.generate(rows, 4)
    return lost


def bits_of(evaluator: Any, examples: list[Example], probes: list[Probe]) -> list[Any]:
    """Return what an evaluator reads and writes, alone and in a batch."""
    alone = [evaluator.probe([example], probes).tobytes() for example in examples]
    causal = examples[0].option_ids and examples[0].mask_place is None
    return [*alone, evaluator.probe(examples, probes).tobytes(), evaluator.generate(examples, 4) if causal else None]


def test_what_was_read_before_changes_no_bit(opened, case):
    """Be it NaN, infinite or huge, in another batch or in a trial that diverged."""
    evaluator, examples = case
    moved(evaluator)
    before = bits_of(evaluator, examples, PROBES)
    assert disturb(evaluator, examples, Z[0]) > len(examples)
    assert bits_of(evaluator, examples, PROBES) == before
    evaluator.apply([(Z[0], 3e38)])
    evaluator.losses([_lengthened(example, 50) for example in examples])
    evaluator.reset()
    moved(evaluator)
    assert bits_of(evaluator, examples, PROBES) == before


def test_a_row_of_nan_leaves_its_neighbours_alone(opened, case):
    evaluator, examples = case
    moved(evaluator)
    with evaluator.poisoned(range(2, 14)) as token:
        rows = [*examples[:2], replace(examples[2], prompt_ids=(token,) * 50), *examples[2:]]
        poisoned = evaluator.probe(rows, PROBES)
    clean = evaluator.probe(rows, PROBES)
    assert np.isnan(poisoned[:, 2]).all()
    assert np.isfinite(clean).all()
    np.testing.assert_array_equal(np.delete(poisoned, 2, axis=1), np.delete(clean, 2, axis=1))


def test_proof_refuses_an_evaluator_that_keeps_a_nan(folders, monkeypatch):
    evaluator = of_architecture(folders, "llama")
    probe, kept = evaluator.probe, [0.0]

    def keeping(batch, probes):
        losses = probe(batch, probes) + 0.0 * kept[0]
        kept[0] = losses[0, -1]
        return losses

    monkeypatch.setattr(evaluator, "probe", keeping)
    with pytest.raises(ValueError, match="a row whose activations are no numbers changed the losses of other rows"):
        self_test(evaluator, ONE_TOKEN, PROBES, max_tokens=60)


def test_half_precision_computes_in_shapes_that_no_neighbour_chooses(opened, case):
    """Models this small may round alike in any shape; large ones do not."""
    evaluator, examples = case
    if opened[1].dtype == "float32":
        pytest.skip("float32 rounds finely enough to cut a batch as suits it")
    together = {batch.input_ids_RL.shape for batch in evaluator.prepare(examples)}
    assert together == {batch.input_ids_RL.shape for one in examples for batch in evaluator.prepare([one])}


def test_half_precision_multiplies_contiguous_states(opened, case, monkeypatch):
    """A strided operand of three dimensions makes a product up to 150 times slower on a CPU."""
    evaluator, examples = case
    if opened[1].dtype == "float32":
        pytest.skip("a strided product is about as fast in float32")
    linear, are_contiguous = torch.nn.functional.linear, []

    def watched(states: torch.Tensor, *others: torch.Tensor | None) -> torch.Tensor:
        are_contiguous.append(states.ndim < 3 or states.is_contiguous())
        return linear(states, *others)

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    evaluator.losses(examples)
    if opened[1].head == "causal-lm":
        evaluator.generate(examples, 3)
    assert are_contiguous
    assert all(are_contiguous)


def test_an_empty_batch_has_no_losses(case):
    evaluator, _ = case
    assert evaluator.probe([], PROBES).shape == (4, 0)
    assert evaluator.predict([]).shape == (0,)


def test_reset_and_a_second_opening_give_the_same_bits(opened, case, folders):
    evaluator, _ = case
    digest = evaluator.state_digest()
    moved(evaluator)
    moved_digest = evaluator.state_digest()
    evaluator.reset()
    assert digest == evaluator.state_digest() != moved_digest
    again = open_evaluator(folders[opened[1].folder], opened[1])
    assert again.state_digest() == digest
    moved(again)
    assert again.state_digest() == moved_digest


def test_proof_accepts_a_working_evaluator_and_refuses_a_radius_lost_in_rounding(case):
    evaluator, examples = case
    moved(evaluator)
    assert self_test(evaluator, examples, PROBES, max_tokens=60) < 1e-5
    with pytest.raises(ValueError, match="1e-20 moved no loss"):
        self_test(evaluator, examples, [Probe(Z[0], 1e-20)], max_tokens=60)


@pytest.mark.parametrize(  # llama has no table of positions to run out of
    ("architecture", "head"), [of for of in HEADS if of[0] not in ("llama", "qwen2")]
)
def test_proof_refuses_prompts_longer_than_the_model(folders, architecture, head):
    evaluator = of_architecture(folders, architecture, head)
    with pytest.raises(ValueError, match=r"task\.max_tokens: a prompt of 100 tokens .* does not fit"):
        self_test(evaluator, EXAMPLES[head], PROBES, max_tokens=100)


@pytest.mark.parametrize(("architecture", "head"), [of for of in HEADS if of[0] not in ("llama", "qwen2")])
def test_rows_that_the_model_has_no_place_for_are_refused_before_a_run(folders, architecture, head):
    evaluator = of_architecture(folders, architecture, head)
    require_positions(evaluator, [])
    require_positions(evaluator, EXAMPLES[head])
    example = EXAMPLES[head][0]
    long = replace(example, prompt_ids=example.prompt_ids[:1] * 100)
    if head == "causal-lm":  # a prompt that fits, and a continuation that does not any more
        long = replace(example, prompt_ids=example.prompt_ids[:1] * 50, option_ids=(example.prompt_ids[:1] * 50,))
    with pytest.raises(ValueError, match=r"task\.max_tokens: the longest row"):
        require_positions(evaluator, [*EXAMPLES[head], long])


def test_proof_draws_an_example_of_any_head_out_to_one_of_its_kind():
    for examples in EXAMPLES.values():
        drawn = _lengthened(examples[0], 60)
        assert len(drawn.prompt_ids) == 60
        assert drawn.mask_place == examples[0].mask_place


def test_proof_refuses_a_model_that_couples_the_examples_of_a_batch(folders, monkeypatch):
    evaluator = of_architecture(folders, "llama")
    true_scores = TransformersEvaluator.scores

    def coupled(self, prepared, num_examples, *rest):
        scores = true_scores(self, prepared, num_examples, *rest)
        return [each + np.array([0.01 * num_examples, 0.0]) for each in scores]

    monkeypatch.setattr(TransformersEvaluator, "scores", coupled)
    with pytest.raises(ValueError, match="depends on its neighbours in the batch"):
        self_test(evaluator, ONE_TOKEN, PROBES, max_tokens=20)


def test_a_tokenizer_may_know_more_tokens_than_the_model_also_to_pad_with(folders):
    larger = tokenizer()
    larger.add_special_tokens({"pad_token": "<unheard>"})
    assert larger.pad_token_id == 14
    model = ModelConfig(path=str(folders["llama-causal-lm"]))
    longer = TransformersEvaluator(model, PerformanceConfig(), larger, num_labels=0, seed=0)
    np.testing.assert_array_equal(longer.losses(ONE_TOKEN), of_architecture(folders, "llama").losses(ONE_TOKEN))


def test_a_radius_that_rounding_rivals_is_refused():
    plan = MechanismPlan(0.5, 64.0, 1, 10, 5.0, 1.0)
    require_above_rounding(1e-6, plan, 1e-3, 0.01)
    with pytest.raises(ValueError, match=r"method\.smoothing 1e-06 is too small.*rounding_share"):
        require_above_rounding(1e-6, plan, 1e-6, 0.01)
    require_above_rounding(1e-6, MechanismPlan(0.5, 64.0, 1, 10, None, None), 1e-6, 0.01)


@pytest.mark.parametrize(("architecture", "examples"), [("llama", MANY_TOKENS), ("bert", AT_MASK)])
def test_micro_batches_change_nothing_beyond_rounding(folders, architecture, examples):
    head = "causal-lm" if examples is MANY_TOKENS else "masked-lm"
    large = of_architecture(folders, architecture, head)
    small = of_architecture(folders, architecture, head, micro_batch_tokens=8)
    np.testing.assert_allclose(large.losses(examples), small.losses(examples), atol=1e-5)


@pytest.mark.parametrize("architecture", CAUSAL)
@pytest.mark.parametrize(
    "examples",
    [ONE_TOKEN, MANY_TOKENS, OWN_OPTIONS, TARGET],
    ids=["one-token", "many-tokens", "own-options", "target"],
)
def test_causal_losses_are_those_of_transformers(folders, architecture, examples):
    model = AutoModelForCausalLM.from_pretrained(folders[f"{architecture}-causal-lm"], dtype=torch.float32).eval()

    def mean_log_prob(prompt, option):
        logits = model(torch.tensor([[*prompt, *option]])).logits[0].double().log_softmax(-1)
        return float(np.mean([logits[len(prompt) - 1 + n, token].item() for n, token in enumerate(option)]))

    expected = []
    for example in examples:
        with torch.no_grad():
            scores = [mean_log_prob(example.prompt_ids, option) for option in example.option_ids]
        total = math.log(sum(math.exp(score) for score in scores)) if len(scores) > 1 else 0.0
        expected.append(total - scores[example.label])
    evaluator = of_architecture(folders, architecture)
    np.testing.assert_allclose(evaluator.losses(examples), expected, atol=1e-5)


@pytest.fixture(params=["packed", "padded"])
def layout(request, monkeypatch):
    if request.param == "padded":
        monkeypatch.setattr(packing, "ENCODERS", set())
    return request.param


@pytest.mark.parametrize("architecture", ENCODERS)
def test_classification_losses_are_those_of_transformers(folders, architecture, layout):
    folder = folders[f"{architecture}-sequence-classification"]
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    evaluator = of_architecture(folders, architecture, "sequence-classification")
    assert evaluator._forward.packs == (layout == "packed")
    with torch.no_grad():
        expected = [
            model(torch.tensor([example.prompt_ids]), labels=torch.tensor([example.label])).loss.item()
            for example in CLASSES
        ]
        chosen = [int(model(torch.tensor([example.prompt_ids])).logits.argmax()) for example in CLASSES]
    np.testing.assert_allclose(evaluator.losses(CLASSES), expected, atol=1e-5)
    assert evaluator.predict(CLASSES).tolist() == chosen


@pytest.mark.parametrize("architecture", ENCODERS)
def test_losses_at_the_mask_are_those_of_transformers(folders, architecture, layout):
    """The cross-entropy over the label words' logits at the mask, wherever in the prompt it stands."""
    middle = [Example((2, MASK_ID, *p[1:], 3), ((7,), (6,), (10,)), n % 3, mask_place=1) for n, p in enumerate(PROMPTS)]
    examples = [*AT_MASK, *middle]
    model = AutoModelForMaskedLM.from_pretrained(folders[f"{architecture}-masked-lm"], dtype=torch.float32).eval()
    expected = []
    for example in examples:
        with torch.no_grad():
            logits = model(torch.tensor([example.prompt_ids])).logits[0, example.prompt_ids.index(MASK_ID)].double()
        words = logits[[option[0] for option in example.option_ids]]
        expected.append(float(torch.logsumexp(words, 0) - words[example.label]))
    evaluator = of_architecture(folders, architecture, "masked-lm")
    assert evaluator._forward.packs == (layout == "packed")
    np.testing.assert_allclose(evaluator.losses(examples), expected, atol=1e-5)


def test_a_checkpoint_without_the_head_is_refused(folders):
    case = Case("bert", "masked-lm")
    with pytest.raises(ValueError, match=r"lacks \d+ weights of a masked-lm model .*which would be random"):
        open_evaluator(folders["bert-sequence-classification"], case)


@pytest.mark.parametrize("case", [case for case in CASES if case.dtype == "bfloat16"], ids=lambda case: case.folder)
def test_half_precision_rounds_what_is_kept_in_float32(folders, case):
    """Updates gather in the master although each alone is lost in rounding; losses are near the exact ones."""
    half = open_evaluator(folders[case.folder], case)
    exact = open_evaluator(folders[case.folder], case._replace(dtype="float32"))
    np.testing.assert_allclose(half.losses(EXAMPLES[case.head]), exact.losses(EXAMPLES[case.head]), atol=0.05)
    for step in range(3):
        for evaluator in (half, exact):
            evaluator.probe(EXAMPLES[case.head], PROBES)
            evaluator.apply([(Direction(3, step, 0, "rademacher"), 1e-6)])
    assert half.state_digest() == exact.state_digest()


def test_half_precision_is_exported_as_it_is_kept(folders, tmp_path):
    case = Case("llama", "causal-lm", "full", "bfloat16")
    evaluator = open_evaluator(folders[case.folder], case)
    before = evaluator.losses(ONE_TOKEN)
    evaluator.apply([(Z[1], 1e-5)])
    evaluator.export(tmp_path)
    evaluator.reset()
    np.testing.assert_array_equal(evaluator.losses(ONE_TOKEN), before)
    base = dict(AutoModelForCausalLM.from_pretrained(folders[case.folder], dtype="auto").named_parameters())
    for name, tensor in AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").named_parameters():
        z = torch.from_numpy(direction_values(Z[1], name, tensor.numel())).view(tensor.shape)
        assert torch.equal(tensor, base[name] + torch.tensor(1e-5) * z), name


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.head == "causal-lm" and case.dtype == "float32" and case.trainable != "all-linear"],
    ids=lambda c: "-".join(c[:3]),
)
def test_generation_is_the_likeliest_token_after_the_other(folders, case):
    evaluator = open_evaluator(folders[case.folder], case)
    before = evaluator.losses(ONE_TOKEN)
    answers = evaluator.generate(ONE_TOKEN, 5)
    for example, answer in zip(ONE_TOKEN, answers, strict=True):
        ids = list(example.prompt_ids)
        for _ in range(5):
            options = tuple((token,) for token in range(MASK_ID + 1))
            ids.append(int(evaluator.predict([Example(tuple(ids), options, 0)])[0]))
        written = ids[len(example.prompt_ids) :]
        written = written[: written.index(3)] if 3 in written else written
        assert answer == tokenizer().decode(written, skip_special_tokens=True).strip()
    np.testing.assert_array_equal(evaluator.losses(ONE_TOKEN), before)
    assert evaluator.generate([], 5) == []


def test_only_a_causal_model_writes(folders):
    with pytest.raises(ValueError, match="only a causal model writes text"):
        of_architecture(folders, "bert", "masked-lm").generate(AT_MASK, 3)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_directions_go_by_hugging_face_name_and_flat_index(folders, architecture, tmp_path):
    evaluator = of_architecture(folders, architecture)
    before = AutoModelForCausalLM.from_pretrained(folders[f"{architecture}-causal-lm"], dtype=torch.float32)
    evaluator.apply([(Z[1], 0.25)])
    evaluator.export(tmp_path)
    after = dict(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).named_parameters())
    for name, tensor in before.named_parameters():
        z = torch.from_numpy(direction_values(Z[1], name, tensor.numel())).view(tensor.shape)
        assert torch.equal(after[name], tensor + 0.25 * z), name


@pytest.mark.parametrize(("architecture", "head"), HEADS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_linear_moves_the_weights_of_linear_layers_and_a_head_that_classifies(
    folders, tmp_path, architecture, head, dtype
):
    """And nothing else: neither embeddings nor what reads them back, nor a vector outside of the head."""
    case = Case(architecture, head, "all-linear", dtype)
    evaluator = open_evaluator(folders[case.folder], case)
    before, same = evaluator.losses(EXAMPLES[head]), evaluator.probe(EXAMPLES[head], PROBES)
    evaluator.export(tmp_path / "before")
    np.testing.assert_array_equal(evaluator.probe(EXAMPLES[head], PROBES), same)
    evaluator.apply([(Z[1], 0.25)])
    evaluator.export(tmp_path / "after")
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "after"))
    of_blocks = [name for name in old if re.search(r"\.(layers?|h)\.\d+\.", name) and old[name].ndim == 2]
    of_head = [name for name in old if re.match(r"(bert\.pooler|cls.*|lm_head)\.dense\.weight", name)]
    if head == "sequence-classification":
        of_head += [name for name in old if name.startswith("classifier.")]
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        assert tensor.dtype == new[name].dtype == torch.float32
        z = torch.from_numpy(direction_values(Z[1], name, tensor.numel())).view(tensor.shape)
        assert torch.equal(new[name], tensor + 0.25 * z if name in {*of_blocks, *of_head} else tensor), name
    assert evaluator.parameter_count == sum(old[name].numel() for name in [*of_blocks, *of_head])
    evaluator.reset()
    np.testing.assert_array_equal(evaluator.losses(EXAMPLES[head]), before)


def test_tied_weights_move_once(tmp_path):
    save_model(tmp_path, "llama", tied=True)
    tied = open_evaluator(tmp_path, Case("llama", "causal-lm"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert tied.parameter_count == sum(tensor.numel() for tensor in model.parameters())


def test_lora_export_is_read_by_peft(folders, tmp_path):
    from peft import PeftModel

    evaluator = open_evaluator(folders["llama-causal-lm"], Case("llama", "causal-lm", "lora"))
    moved(evaluator)
    evaluator.export(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(folders["llama-causal-lm"], dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, tmp_path).eval()
    prompt = ONE_TOKEN[1].prompt_ids
    with torch.no_grad():
        logits = adapted(torch.tensor([prompt])).logits[0, -1, [7, 6]].double()
    expected = torch.logsumexp(logits, 0) - logits[ONE_TOKEN[1].label]
    np.testing.assert_allclose(evaluator.losses([ONE_TOKEN[1]])[0], expected.item(), atol=1e-5)


def test_a_folder_without_a_model_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match=r"model\.path: no causal-lm model could be loaded") as caught:
        open_evaluator(tmp_path, Case("llama", "causal-lm"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("trainable", ["full", "lora"])
def test_a_bfloat16_master_is_the_same_whatever_is_computed_in(folders, trainable, tmp_path):
    """And smaller, and exported as it is; the demo of a real run is that of every method, on a smaller model."""
    exported = []
    for dtype in ("float32", "bfloat16"):
        case = Case("llama", "causal-lm", trainable, dtype, "bfloat16")
        evaluator = open_evaluator(folders[case.folder], case)
        base, before = evaluator.state_digest(), evaluator.losses(ONE_TOKEN)
        self_test(evaluator, ONE_TOKEN, PROBES, max_tokens=20)
        for step in range(3):
            evaluator.apply([(Direction(1, step, k, z.kind), 1e-3) for k, z in enumerate(Z)])
        evaluator.export(tmp_path / dtype)
        (weights,) = (tmp_path / dtype).glob("*.safetensors")
        exported.append((weights.read_bytes(), evaluator.state_digest()))
        assert all(tensor.dtype == torch.bfloat16 for tensor in evaluator.parameters.theta().values())
        assert evaluator.state_digest() != base
        evaluator.reset()
        assert evaluator.state_digest() == base
        np.testing.assert_array_equal(evaluator.losses(ONE_TOKEN), before)
    assert exported[0] == exported[1]
