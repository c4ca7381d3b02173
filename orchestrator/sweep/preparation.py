"""The checks of a sweep before anything is reserved: of its inputs without a model, and of its base model."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from orchestrator.budget.reservation import require_ledger_answers
from orchestrator.budget.standing_noise import with_reserved_noise
from orchestrator.cluster.session import threads_per_trial
from orchestrator.config.models import SweepConfig
from orchestrator.planning.plan import Plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.storage.paths import storage_of, with_absolute_paths
from orchestrator.storage.results import read_result
from orchestrator.sweep.public_tuning import PublicRows
from orchestrator.sweep.samplers import require_packages
from orchestrator.sweep.trial import SweepContext
from orchestrator.sweep.warm_start import earlier_trials
from search_spaces.config import MENU, SearchConfig
from search_spaces.dependencies import is_active
from search_spaces.parameters import Parameter
from search_spaces.searchable import METHOD_CHOICES, setting_of
from search_spaces.stages import STAGES
from trainers.config.mechanism import mechanism_plan
from trainers.methods.presets import require_size_of_model
from trainers.run.base_run import public_score
from trainers.run.pruning import require_kept
from trainers.run.zeroth_order import require_schedules_above_rounding
from trainers.workspace import check_inputs, open_workspace

# settings that decide whether a probe is lost in rounding, by the end that is worse (σ plays no part, but a mechanism
# must have one)
SMALLEST = ("method.smoothing", "method.clip_norm", "method.num_directions", "privacy.noise_multiplier")
LARGEST = ("privacy.expected_batch_size",)


def prepare_sweep(plan: Plan) -> SweepContext:
    """Check everything that needs no model, and return what the trials share.

    Raises:
        ValueError: the inputs are unusable, the machine too small, a package is missing, or the sweep is finished.
        LedgerUnreachable: the ledger's server does not answer.
    """
    config = with_absolute_paths(plan.config)
    assert isinstance(config, SweepConfig)
    threads = threads_per_trial(config)
    storage = storage_of(config)
    if read_result(storage) is not None:
        raise ValueError(
            f"name: the sweep {config.name!r} is finished, its results are in {storage.folder}. Give a new sweep "
            f"another name, such as --set name={config.name}-2."
        )
    check_inputs(config)
    tune_on = None
    if config.search.tune_on is not None:
        tune_on = PublicRows.count(config.search.tune_on, config.data)
        check_inputs(tune_on.replace_training_rows(config))
    require_packages(config.search.sampler_for(plan.num_trials))
    require_ledger_answers(storage)
    earlier_trials(config, storage)
    return SweepContext(with_reserved_noise(replace(plan, config=config), storage), storage, threads, tune_on)


def zero_shot_score(context: SweepContext) -> tuple[float | None, Mapping[str, str]]:
    """Return the score of the base model on the public validation set, and the fingerprint of that set by its field.

    The score is None where the validation set is private.

    Raises:
        ValueError: the model does not load, or a probe of the smallest radius that may be tried is lost in rounding.
    """
    config = context.config
    key = Ledger(context.storage.database_url).key()
    # closed before lanes load models of their own
    with closing(open_workspace(config, private=False, key=key)) as workspace:
        for values in worst_trials(config.search):
            worst = context.plan.trial(values)
            mechanism = mechanism_plan(worst, worst.privacy.noise_multiplier)
            require_schedules_above_rounding(workspace.rounding, mechanism, worst)
            require_size_of_model(worst.method.preset, workspace.evaluator.model_size)
            require_kept(worst.method, workspace.evaluator.parameter_count)
        return public_score(config, workspace), workspace.fingerprints


def worst_trials(search: SearchConfig) -> list[dict[str, Any]]:
    """Return the settings in which rounding matters most: one for each way that choices and conditions may go."""
    parameters = search.parameters
    trials: list[dict[str, Any]] = [{}]
    for name, parameter in parameters.items():
        ends = _worst_ends(name, parameters)
        active = [trial for trial in trials if ends and is_active(parameter, trial)]
        others = [trial for trial in trials if trial not in active]
        trials = [*others, *({**trial, name: end} for trial in active for end in ends)]
    if search.menu is not None:
        sizes = [entry.expected_batch_size for entry in search.menu]
        trials = [{**trial, MENU: sizes.index(max(sizes))} for trial in trials]
    return trials


def _worst_ends(name: str, parameters: Mapping[str, Parameter]) -> list[Any]:
    """Return the values of a parameter to try; none where it plays no part."""
    ends = list(parameters[name].ends)
    decides = name in METHOD_CHOICES or any(name in (other.when or {}) for other in parameters.values())
    if decides or (name.startswith(SMALLEST) and not all(isinstance(end, int | float) for end in ends)):
        return ends
    if name in LARGEST:
        return [max(ends)]
    setting = setting_of(name)
    built = setting == STAGES or f"{setting}.kind" in parameters  # a schedule needs all of its numbers
    return [min(ends)] if name.startswith(SMALLEST) or built else []
