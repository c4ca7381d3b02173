"""The digest of all weights of a base model: where not all of them train, θ alone does not say which model it is of."""

import hashlib

from trainers.config import RunConfig
from trainers.evaluators.checkpoint import read_checkpoint
from trainers.evaluators.model_files import adapter_base
from trainers.evaluators.tensor_file import update_with_tensor


def base_weights_digest(config: RunConfig) -> str:
    """Return a SHA-256 of the names, shapes and float32 bits of the weights at `model.path`, or below an adapter there.

    A new head is left out. ValueError as for `read_checkpoint`.
    """
    path = adapter_base(config.model.path) or config.model.path
    model, new = read_checkpoint(
        config.model, path, num_labels=len(config.task.label_names), pad_token_id=0, seed=config.method.seed
    )
    digest = hashlib.sha256()
    for name, tensor in sorted(model.named_parameters()):
        if name not in new:
            update_with_tensor(digest, name, tensor)
    return digest.hexdigest()
