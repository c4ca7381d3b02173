"""Reads the trials of a sweep from its Optuna study, without Ray; `study` drives the search."""

import optuna
from sqlalchemy import Engine, create_engine, inspect, text

from orchestrator.storage.trials import EARLIER, TrialRow, row_of_study


def trials_of(database_url: str, study_name: str) -> list[TrialRow]:
    """Return all trials of a study that have begun, by number; none where there is no study. Nothing is written."""
    stored = _stored_trials(database_url, study_name)
    return [row_of_study(trial) for trial in stored if trial.state is not optuna.trial.TrialState.WAITING]


def copy_of_study(database_url: str, study_name: str) -> optuna.Study:
    """Return a study in memory with all trials of a stored one: what is done to it changes nothing in the database."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=study_name, direction="maximize")
    study.add_trials(_stored_trials(database_url, study_name))
    return study


def _stored_trials(database_url: str, study_name: str) -> list[optuna.trial.FrozenTrial]:
    engine = create_engine(database_url)
    try:
        if not _is_complete(engine):
            return []
    finally:
        engine.dispose()
    storage = optuna.storages.RDBStorage(database_url, skip_compatibility_check=True, skip_table_creation=True)
    try:
        if study_name not in {study.study_name for study in storage.get_all_studies()}:
            return []
        trials = storage.get_all_trials(storage.get_study_id_from_name(study_name))
        return [trial for trial in trials if EARLIER not in trial.user_attrs]
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _is_complete(engine: Engine) -> bool:
    """Return whether Optuna has made all of its tables: before that, opening them writes what their maker writes too.

    The two would collide, and the sweep would end. The row of alembic's table is the last that is written.
    """
    if not inspect(engine).has_table("alembic_version"):
        return False
    with engine.connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).first() is not None
