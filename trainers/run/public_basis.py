"""The public basis of a run: made from public rows at the start of each stage, kept beside the log, named in the log.

| setting                          | made from                   | when                          |
|----------------------------------|-----------------------------|-------------------------------|
| `model.lora: {init: activation}` | inputs of the adapted layers | at the base weights, once     |
| `method.direction: activation`   | inputs of the linear layers  | at θ at the start of a stage  |
| `method.direction: public-gradient` | labelled public rows     | at θ at the start of a stage  |

Another machine may round its forward passes differently, so the basis itself is stored: a replay reads the file, and
makes the basis again only where there is no file. One with another digest than the log's is refused.

Formal guarantees: nothing here takes a private example. A basis depends on public rows, base weights and past releases
alone, so it costs no privacy, and the event, the clip and the noise of a step are those of any other direction.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from trainers.config import RunConfig
from trainers.data.public_rows import gradient_batches
from trainers.directions.basis import Basis
from trainers.evaluators.base import Example, Guided
from trainers.evaluators.tensor_file import read_tensors, save_tensors, write_tensor_file
from trainers.mechanism.release_log import BASIS_FILES, Transcript


class PublicBasis:
    """Makes, stores and reads the bases of one run.

    Args:
        public: rows of data.public, or general sentences.
        folder: of the run; a basis lies there as `basis-STAGE.safetensors`.
    """

    def __init__(
        self, config: RunConfig, evaluator: Guided, public: Sequence[Example], log: Transcript, folder: Path
    ) -> None:
        self._config, self._evaluator, self._public = config, evaluator, public
        self._log, self._folder = log, folder

    def enter(self, stage: int) -> None:
        """Use the basis of a stage, if one is made there.

        Raises:
            ValueError: it is not the one in the log.
        """
        if self._config.model.lora.init == "activation" and stage > 0:
            return
        basis = self._stored(stage) or self._made()
        digest = basis.digest()
        if stage == len(self._log.public_values):
            self._store(stage, basis)
            self._log.publish(stage, [], digest, of="basis")
        elif self._log.public_digests[stage] != digest:
            raise ValueError(
                f"data.public: {self._log.path} was written with another public basis at its stage {stage}, and would "
                f"silently give other weights: restore {self._path(stage).name} and the public rows, continue where "
                "the run began, or give this run another name."
            )
        self._evaluator.use_basis(basis)

    def is_stored(self, stage: int) -> bool:
        """Return whether the basis in force in a stage lies beside the log."""
        return self._path(0 if self._config.model.lora.init == "activation" else stage).is_file()

    def _made(self) -> Basis:
        method, lora = self._config.method, self._config.model.lora
        if method.direction == "public-gradient":
            return self._evaluator.gradient_basis(gradient_batches(self._public))
        rank = method.direction_rank if method.direction == "activation" else lora.rank
        return self._evaluator.activation_basis(self._public, rank)

    def _path(self, stage: int) -> Path:
        return self._folder / BASIS_FILES.replace("*", str(stage))

    def _stored(self, stage: int) -> Basis | None:
        """Return the basis that the log knows of, from its file; one that the log does not know is made anew."""
        known = stage < len(self._log.public_values) and self._path(stage).is_file()
        return Basis(dict(read_tensors(self._path(stage)))) if known else None

    def _store(self, stage: int, basis: Basis) -> None:
        write = partial(save_tensors, basis.parts, {})
        write_tensor_file(write, lambda _: self._path(stage), self._folder)


def require_public_rows(config: RunConfig, public: Sequence[Example]) -> None:
    """Refuse, with a ValueError, a run that needs public rows on a workspace that was opened without any."""
    if config.uses_public_rows and not public:
        raise ValueError(
            "method.direction: directions from public rows cannot begin in a search whose own configuration has none: "
            "set method.direction there too"
        )
