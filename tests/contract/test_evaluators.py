"""What every loss evaluator promises, on every architecture, whole model and LoRA."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.support.models import save_model, tokenizer
from trainers.config import LoraConfig, ModelConfig, PerformanceConfig
from trainers.directions import Direction, direction_values
from trainers.evaluators.base import Example, Probe
from trainers.evaluators.proof import prove, require_resolved
from trainers.evaluators.transformers import TransformersEvaluator
from trainers.mechanism import MechanismPlan

PROMPTS = [(2, 10, 11, 4, 5), (2, 8, 9, 10, 12, 11, 4, 5), (2, 4, 5), (2, 9, 9, 10, 4, 5), (2, 11, 4, 5)]
ONE_TOKEN = [Example(prompt, ((7,), (6,)), n % 2) for n, prompt in enumerate(PROMPTS)]
MANY_TOKENS = [Example(prompt, ((7,), (8, 9, 6)), n % 2) for n, prompt in enumerate(PROMPTS)]
TARGET = [Example(prompt, ((6, 9, 3)[: 1 + n % 3],), 0) for n, prompt in enumerate(PROMPTS)]
CLASSES = [Example(prompt, (), n % 2) for n, prompt in enumerate(PROMPTS)]

CAUSAL = ["llama", "opt", "gpt2"]
CASES = [(architecture, trainable) for architecture in [*CAUSAL, "bert"] for trainable in ("full", "lora")]
Z = [Direction(1, 0, k, kind) for k, kind in enumerate(["gaussian", "rademacher"])]
PROBES = [Probe(z, sign * 1e-2) for z in Z for sign in (1.0, -1.0)]


def open_evaluator(folder: Path, architecture: str, trainable: str, **performance: object) -> TransformersEvaluator:
    head = "sequence-classification" if architecture == "bert" else "causal-lm"
    targets = ["c_attn"] if architecture == "gpt2" else ["query", "value"] if head != "causal-lm" else None
    model = ModelConfig(
        path=str(folder), head=head, trainable=trainable, lora=LoraConfig(rank=2, target_modules=targets)
    )
    return TransformersEvaluator(
        model, PerformanceConfig.model_validate(performance), tokenizer(), num_labels=2, seed=0
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: save_model(root / name, name) for name in [*CAUSAL, "bert"]}


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def case(request, folders):
    architecture, trainable = request.param
    return open_evaluator(folders[architecture], architecture, trainable), examples_for(architecture)


def examples_for(architecture: str) -> list[Example]:
    return CLASSES if architecture == "bert" else ONE_TOKEN


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


def test_the_loss_moves_by_the_directional_derivative(case):
    evaluator, examples = case
    moved(evaluator)
    plus, minus = evaluator.probe(examples, [Probe(Z[0], 2e-4), Probe(Z[0], -2e-4)])
    half_plus, half_minus = evaluator.probe(examples, [Probe(Z[0], 1e-4), Probe(Z[0], -1e-4)])
    np.testing.assert_allclose(half_plus - half_minus, (plus - minus) / 2, atol=1e-4)


def test_an_example_has_its_own_row_whatever_its_mates(case):
    evaluator, examples = case
    moved(evaluator)
    together = evaluator.probe(examples, PROBES)
    order = [3, 0, 4, 2, 1]
    shuffled = evaluator.probe([examples[n] for n in order], PROBES)
    alone = np.array([evaluator.probe([example], PROBES)[:, 0] for example in examples]).T
    np.testing.assert_allclose(shuffled, together[:, order], atol=1e-5)
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_an_empty_batch_has_no_losses(case):
    evaluator, _ = case
    assert evaluator.probe([], PROBES).shape == (4, 0)
    assert evaluator.predict([]).shape == (0,)


def test_reset_and_a_second_opening_give_the_same_bits(case, folders, request):
    evaluator, _ = case
    digest = evaluator.state_digest()
    moved(evaluator)
    moved_digest = evaluator.state_digest()
    evaluator.reset()
    assert digest == evaluator.state_digest() != moved_digest
    again = open_evaluator(folders[request.node.callspec.params["case"][0]], *request.node.callspec.params["case"])
    assert again.state_digest() == digest
    moved(again)
    assert again.state_digest() == moved_digest


def test_proof_accepts_a_working_evaluator_and_refuses_a_radius_lost_in_rounding(case):
    evaluator, examples = case
    moved(evaluator)
    assert prove(evaluator, examples, PROBES, max_tokens=60) < 1e-5
    with pytest.raises(ValueError, match="1e-20 moved no loss"):
        prove(evaluator, examples, [Probe(Z[0], 1e-20)], max_tokens=60)


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "bert"])  # llama has no table of positions to run out of
def test_proof_refuses_prompts_longer_than_the_model(folders, architecture):
    evaluator = open_evaluator(folders[architecture], architecture, "full")
    with pytest.raises(ValueError, match=r"task\.max_tokens: a prompt of 100 tokens .* does not fit"):
        prove(evaluator, examples_for(architecture), PROBES, max_tokens=100)


def test_proof_refuses_a_model_that_couples_the_examples_of_a_batch(folders, monkeypatch):
    evaluator = open_evaluator(folders["llama"], "llama", "full")
    true_scores = TransformersEvaluator.scores

    def coupled(self, prepared, num_examples):
        return [scores + np.array([0.01 * num_examples, 0.0]) for scores in true_scores(self, prepared, num_examples)]

    monkeypatch.setattr(TransformersEvaluator, "scores", coupled)
    with pytest.raises(ValueError, match="depends on its neighbours in the batch"):
        prove(evaluator, ONE_TOKEN, PROBES, max_tokens=20)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folders):
    larger = tokenizer()
    larger.add_tokens(["unheard"])
    model = ModelConfig(path=str(folders["llama"]))
    with pytest.raises(ValueError, match="ids go up to 13, the model's embedding has 13 rows"):
        TransformersEvaluator(model, PerformanceConfig(), larger, num_labels=0, seed=0)


def test_a_radius_that_rounding_rivals_is_refused():
    plan = MechanismPlan(0.5, 64.0, 1, 10, 5.0, 1.0)
    require_resolved(1e-6, plan, 1e-3)
    with pytest.raises(ValueError, match=r"method\.smoothing 1e-06 is too small.*Use at least 1\.3e-04"):
        require_resolved(1e-6, plan, 1e-6)
    require_resolved(1e-6, MechanismPlan(0.5, 64.0, 1, 10, None, None), 1e-6)


def test_micro_batches_change_nothing_beyond_rounding(folders):
    large = open_evaluator(folders["llama"], "llama", "full")
    small = open_evaluator(folders["llama"], "llama", "full", micro_batch_tokens=8)
    np.testing.assert_allclose(large.losses(MANY_TOKENS), small.losses(MANY_TOKENS), atol=1e-5)


@pytest.mark.parametrize("architecture", CAUSAL)
@pytest.mark.parametrize("examples", [ONE_TOKEN, MANY_TOKENS, TARGET], ids=["one-token", "many-tokens", "target"])
def test_causal_losses_are_those_of_transformers(folders, architecture, examples):
    model = AutoModelForCausalLM.from_pretrained(folders[architecture], dtype=torch.float32).eval()

    def mean_log_prob(prompt, option):
        logits = model(torch.tensor([[*prompt, *option]])).logits[0].double().log_softmax(-1)
        return float(np.mean([logits[len(prompt) - 1 + n, token].item() for n, token in enumerate(option)]))

    expected = []
    for example in examples:
        with torch.no_grad():
            scores = [mean_log_prob(example.prompt_ids, option) for option in example.option_ids]
        total = math.log(sum(math.exp(score) for score in scores)) if len(scores) > 1 else 0.0
        expected.append(total - scores[example.label])
    evaluator = open_evaluator(folders[architecture], architecture, "full")
    np.testing.assert_allclose(evaluator.losses(examples), expected, atol=1e-5)


def test_classification_losses_are_those_of_transformers(folders):
    model = AutoModelForSequenceClassification.from_pretrained(folders["bert"], dtype=torch.float32).eval()
    evaluator = open_evaluator(folders["bert"], "bert", "full")
    with torch.no_grad():
        expected = [
            model(torch.tensor([example.prompt_ids]), labels=torch.tensor([example.label])).loss.item()
            for example in CLASSES
        ]
        chosen = [int(model(torch.tensor([example.prompt_ids])).logits.argmax()) for example in CLASSES]
    np.testing.assert_allclose(evaluator.losses(CLASSES), expected, atol=1e-5)
    assert evaluator.predict(CLASSES).tolist() == chosen


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_directions_go_by_hugging_face_name_and_flat_index(folders, architecture, tmp_path):
    evaluator = open_evaluator(folders[architecture], architecture, "full")
    before = AutoModelForCausalLM.from_pretrained(folders[architecture], dtype=torch.float32)
    evaluator.apply([(Z[1], 0.25)])
    evaluator.export(tmp_path)
    after = dict(AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).named_parameters())
    for name, tensor in before.named_parameters():
        z = torch.from_numpy(direction_values(Z[1], name, tensor.numel())).view(tensor.shape)
        assert torch.equal(after[name], tensor + 0.25 * z), name


def test_tied_weights_move_once(tmp_path):
    save_model(tmp_path, "llama", tied=True)
    tied, untied = open_evaluator(tmp_path, "llama", "full"), None
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert tied.parameter_count == sum(tensor.numel() for tensor in model.parameters())
    assert untied is None


def test_lora_export_is_read_by_peft(folders, tmp_path):
    from peft import PeftModel

    evaluator = open_evaluator(folders["llama"], "llama", "lora")
    moved(evaluator)
    evaluator.export(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(folders["llama"], dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, tmp_path).eval()
    prompt = ONE_TOKEN[1].prompt_ids
    with torch.no_grad():
        logits = adapted(torch.tensor([prompt])).logits[0, -1, [7, 6]].double()
    expected = torch.logsumexp(logits, 0) - logits[ONE_TOKEN[1].label]
    np.testing.assert_allclose(evaluator.losses([ONE_TOKEN[1]])[0], expected.item(), atol=1e-5)


def test_a_folder_without_a_model_is_one_clear_line(tmp_path):
    with pytest.raises(ValueError, match=r"model\.path: no causal-lm model could be loaded") as caught:
        open_evaluator(tmp_path, "llama", "full")
    assert "\n" not in str(caught.value)
