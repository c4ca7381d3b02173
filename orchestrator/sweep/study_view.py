"""Reads the trials of a sweep from its Optuna study, without Ray; `study` drives the search."""

import optuna
from sqlalchemy import Engine, create_engine, inspect, text

from orchestrator.storage.trials import EARLIER, TrialRow, row_of_study


def trials_of(database_url: str, study_name: str) -> list[TrialRow]:
    """Return all trials of a study that have begun, by number; none where there is no study. Nothing is written."""
    _, stored = _stored(database_url, study_name)
    return [row_of_study(trial) for trial in stored if trial.state is not optuna.trial.TrialState.WAITING]


def copy_of_study(database_url: str, study_name: str) -> optuna.Study:
    """Return a study in memory with all trials of a stored one: what is done to it changes nothing in the database."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions, trials = _stored(database_url, study_name)
    study = optuna.create_study(study_name=study_name, directions=directions)
    study.add_trials(trials)
    return study


def _stored(
    database_url: str, study_name: str
) -> tuple[list[optuna.study.StudyDirection], list[optuna.trial.FrozenTrial]]:
    """Return the directions of a study's objectives, and its own trials."""
    nothing = [optuna.study.StudyDirection.MAXIMIZE], []
    engine = create_engine(database_url)
    try:
        if not _is_complete(engine):
            return nothing
    finally:
        engine.dispose()
    storage = optuna.storages.RDBStorage(database_url, skip_compatibility_check=True, skip_table_creation=True)
    try:
        if study_name not in {study.study_name for study in storage.get_all_studies()}:
            return nothing
        number = storage.get_study_id_from_name(study_name)
        own = [trial for trial in storage.get_all_trials(number) if EARLIER not in trial.user_attrs]
        return list(storage.get_study_directions(number)), own
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
