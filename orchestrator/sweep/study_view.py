"""Reads the trials of a sweep from its Optuna study, without Ray; `study` drives the search."""

import optuna
from sqlalchemy import create_engine, inspect

from orchestrator.storage.trials import TrialRow, row_of_study


def trials_of(database_url: str, study_name: str) -> list[TrialRow]:
    """Return all trials of a study, by number; none where there is no study. Nothing is written."""
    engine = create_engine(database_url)
    try:
        if not inspect(engine).has_table("studies"):
            return []
    finally:
        engine.dispose()
    storage = optuna.storages.RDBStorage(database_url, skip_compatibility_check=True, skip_table_creation=True)
    try:
        if study_name not in {study.study_name for study in storage.get_all_studies()}:
            return []
        return [row_of_study(trial) for trial in storage.get_all_trials(storage.get_study_id_from_name(study_name))]
    finally:
        storage.remove_session()
        storage.engine.dispose()
