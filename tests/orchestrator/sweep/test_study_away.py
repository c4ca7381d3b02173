"""The study's database is the ledger's: when it is away the search waits, and at last says so in one line."""

import math
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState

from orchestrator.privacy.errors import LedgerUnreachable
from orchestrator.privacy.ledger import drawer
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.sweep.study import METRIC, TruthfulSearch, open_search
from search_spaces.config import SearchConfig

CONFIG = SearchConfig.model_validate({"num_trials": 4, "seed": 1, "space": {"method.clip_norm": {"low": 1, "high": 9}}})


@pytest.fixture
def server():
    from tests.support.postgres import PostgresServer

    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def opened():
    """Open the search on a ledger's database; closed in the end."""
    searches, ledgers = [], []

    def open_it(url: str, patience_s: float = 60.0) -> TruthfulSearch:
        ledgers.append(Ledger(url))
        searches.append(open_search(CONFIG, 3, "sweep", ledgers[-1].url, patience_s))
        return searches[-1]

    yield open_it
    for one in searches:
        one.close()
    for one in ledgers:
        one.dispose()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(drawer, "_FIRST_PAUSE_S", 0.05)


def result(score: float, *, finished: bool = True) -> dict:
    counts = {"training_iteration": 1, "steps": 4, "steps_charged": 4, "num_steps": 4, "epsilon": 0.5}
    return {METRIC: score, "finished": finished, **counts}


def asks(search: TruthfulSearch) -> list:
    """Everything that a sweep asks of its study."""
    return [
        search.ended_trials,
        lambda: search.suggest("b"),
        lambda: search.on_trial_result("a", result(0.4, finished=False)),
        lambda: search.on_trial_complete("a", result(0.5)),
        search.fail_the_failed,
    ]


def test_every_question_ends_in_one_line_and_can_be_asked_again(server, opened):
    url = server.new_database()
    search = opened(url, patience_s=0.2)
    values = search.suggest("a")
    search.suggest("dead")
    search.on_trial_complete("dead", error=True)
    server.stop()
    for ask in asks(search):
        with pytest.raises(
            LedgerUnreachable, match=r"does not answer\. The search waited 0 s\. .*start the same command"
        ):
            ask()
    with pytest.raises(LedgerUnreachable):
        open_search(CONFIG, 3, "sweep", url, patience_s=0.2)
    server.start()
    for ask in asks(search):
        ask()
    again = opened(url)
    found = {trial.number: trial for trial in again._study.trials}
    assert (found[0].state, found[0].value) == (TrialState.COMPLETE, 0.5)
    assert found[0].params == {"method.clip_norm": values["method.clip_norm"]}
    assert found[1].state is TrialState.FAIL
    assert again.suggest("again")["number"] == 2  # the one that ran is taken up


def test_a_search_outlives_a_server_that_comes_back(server, opened):
    search = opened(server.new_database())
    search.suggest("a")
    server.stop()
    waiting = threading.Thread(target=search.on_trial_complete, args=("a", result(0.5)))
    waiting.start()
    time.sleep(0.3)
    assert waiting.is_alive()
    server.start()
    waiting.join(30)
    assert not waiting.is_alive()
    assert [(row.state, row.score) for row in search.ended_trials()] == [("complete", 0.5)]


def test_an_answer_that_was_lost_changes_nothing_when_it_is_given_again(postgresql_url, opened, monkeypatch):
    search = opened(postgresql_url)
    search.suggest("a")
    true, calls = optuna.Study.tell, []

    def tell(self, *args, **kwargs):
        told = true(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == 1:
            raise LedgerUnreachable("the answer was lost")
        return told

    monkeypatch.setattr(optuna.Study, "tell", tell)
    search.on_trial_complete("a", result(0.5))
    assert len(calls) == 1  # it was told, and asked before it was told again
    assert [row.score for row in search.ended_trials()] == [0.5]


def test_a_refusal_of_the_study_is_no_silence(postgresql_url, opened):
    search = opened(postgresql_url)
    search.suggest("a")
    search.on_trial_complete("a", result(math.nan))
    with pytest.raises(KeyError):
        search.on_trial_complete("unknown", result(0.5))
