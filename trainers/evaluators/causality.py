"""A check that a model which is to predict the next token does not see it."""

import inspect
from typing import Any

import torch

from trainers.evaluators.model_files import one_line

_LENGTH, _KEPT = 8, 4  # of two rows, which begin alike
_TOLERANCE = 1e-3  # of the largest logit; rounding is a thousand times smaller


@torch.inference_mode()
def require_causal(model: Any) -> None:
    """Check that tokens of a made-up row change no logit before them.

    An encoder computes a loss of a continuation too, but it sees the continuation that it is to predict.

    Raises:
        ValueError: they do.
    """
    row, num_rows = list(range(1, _LENGTH + 1)), model.get_input_embeddings().weight.shape[0]
    other = [*row[:_KEPT], *(token + _LENGTH for token in row[_KEPT:])]
    ids_RL = torch.tensor([row, other], device=model.device) % num_rows
    settings = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    try:
        output = model(input_ids=ids_RL, attention_mask=torch.ones_like(ids_RL), **settings)
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"model.path: the model cannot read a made-up row: {one_line(error)}") from error
    logits_RTV = output.logits[:, :_KEPT].double()
    change = float((logits_RTV[0] - logits_RTV[1]).abs().max())
    if change > _TOLERANCE * float(logits_RTV.abs().max()):
        raise ValueError(
            f"model.path: a {model.config.model_type} model sees the tokens that follow, so as model.head: causal-lm "
            "it would see the answer that it is to predict. Use model.head: masked-lm, with [MASK] in task.template, "
            "or model.head: sequence-classification"
        )
