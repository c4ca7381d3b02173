"""Whole commands under other rules than caps: the best alone, pure ε, users, a split; and a database that goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from typer.testing import CliRunner

from orchestrator import Sweep
from orchestrator.budget.reservation import reserve_plan
from orchestrator.cli.app import app
from orchestrator.config.loading import load_run, load_sweep
from orchestrator.planning.plan import make_plan
from orchestrator.privacy.ledger.ledger import Ledger
from orchestrator.privacy.rules.caps import TRAIN_STEP
from orchestrator.privacy.rules.repetitions import Repetitions
from orchestrator.storage.paths import Storage, storage_of
from orchestrator.storage.results import write_config as write_stored_config
from orchestrator.sweep.trial import SweepContext, open_keyed_workspace
from tests.support.project import write_config, write_project
from trainers.data.sources import read_rows
from trainers.mechanism.release_log import LOG_NAME
from trainers.workers.ranks import Ranks

NUM_STEPS, NUM_CANDIDATES = 60, 4
LIMIT_S = 600  # of a busy machine
DP_ZO = ("method.name=dp-zo", "method.num_directions=1")


def start(config_file: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "orchestrator", "sweep", str(config_file), "--format", "json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_until(process: subprocess.Popen, what: str, reached) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"it never came to {what}"
        time.sleep(0.05)


def count(storage: Storage, word: str) -> int:
    return sum(log.read_text().count(f'"type":"{word}"') for log in storage.trials_folder.glob(f"*/{LOG_NAME}"))


@pytest.fixture(scope="module")
def best(tmp_path_factory) -> tuple[Path, str, str]:
    """A search for the best alone, killed in its second candidate and started again: its file and what it said."""
    folder = tmp_path_factory.mktemp("best")
    config = write_project(folder)
    config["method"]["num_steps"] = NUM_STEPS
    config["privacy"] = {
        "rounding_share": 0,
        "noise_multiplier": 6.0,
        "expected_batch_size": 16,
        "delta": 1e-5,
        "spare_steps": 5,
    }
    del config["search"]["seed"]
    config["search"] |= {"release": "best", "sampler": "random", "num_trials": 5, "concurrent_trials": 1}
    path = write_config(folder, config)
    sweep = Sweep(path)
    storage = storage_of(sweep.config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Repetitions, "draw_number", lambda self: NUM_CANDIDATES)  # the first draw is kept
        reserve_plan(sweep.plan(), storage)
    first = start(path)
    wait_until(first, "a step of the second candidate", lambda: count(storage, "RELEASE") > NUM_STEPS)
    first.kill()
    first.communicate()
    out, err = start(path).communicate(timeout=LIMIT_S)
    assert out.startswith("{"), err
    return path, out, err


def test_all_candidates_ran_and_the_winner_left_alone(best):
    path, out, _ = best
    sweep = Sweep(path)
    storage, result = storage_of(sweep.config), json.loads(out)
    ledger = Ledger(storage.database_url)
    number = NUM_CANDIDATES
    assert ledger.secret_of("test")["num_trials"] == number
    study = optuna.load_study(study_name="test", storage=storage.database_url)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * number
    assert len({trial.params["method.learning_rate"] for trial in study.trials}) == number
    assert [trial["number"] for trial in result["trials"]] == [result["best"]["number"]] == [0]
    assert (
        result["best"]["score"]
        if "score" in result["best"]
        else result["best"]["scores"][-1] == max(trial.value for trial in study.trials)
    )
    assert result["seconds"] is None
    assert result["statement"]["tokens_drawn"] is None
    assert result["statement"]["epsilon_total"] == sweep.plan().epsilon
    assert result["statement"]["caps"] == {TRAIN_STEP: NUM_STEPS + 5}
    ledger.verify_all()
    for trial in range(number):
        assert NUM_STEPS <= ledger.drawn("test", TRAIN_STEP, f"trial-{trial:03d}") <= NUM_STEPS + 5


def test_what_leaves_holds_nothing_of_the_others(best):
    path, out, _ = best
    storage = storage_of(Sweep(path).config)
    study = optuna.load_study(study_name="test", storage=storage.database_url)
    files = [
        path for path in storage.folder.rglob("*") if path.is_file() and storage.operator_folder not in path.parents
    ]
    assert {path.parent.name for path in files} == {"test", "model"}
    content = out.encode() + b"".join(path.read_bytes() for path in files)
    won = json.loads(out)["best"]["values"]["method.learning_rate"]
    for trial in study.trials:
        rate = trial.params["method.learning_rate"]
        assert (repr(rate).encode() in content) == (rate == won)
    log = (storage.folder / LOG_NAME).read_text()
    assert (log.count('"type":"RESERVE"'), log.count('"type":"RELEASE"')) == (NUM_STEPS, NUM_STEPS)


@pytest.fixture
def away(tmp_path):
    """A sweep on a PostgreSQL server that can be stopped."""
    from tests.support.postgres import PostgresServer

    server = PostgresServer()
    server.start()
    config = write_project(tmp_path)
    config["method"]["num_steps"] = NUM_STEPS
    config["privacy"] = {
        "rounding_share": 0,
        "noise_multiplier": 9.0,
        "expected_batch_size": 16,
        "delta": 1e-5,
        "spare_steps": 20,
    }
    config["budget"] = {"ledger": server.new_database(), "patience_s": 20}
    config["search"] |= {"num_trials": 2, "concurrent_trials": 1}
    processes: list[subprocess.Popen] = []

    def run(**budget: float) -> subprocess.Popen:
        path = write_config(tmp_path, config | {"budget": config["budget"] | budget})
        processes.append(start(path))
        return processes[-1]

    yield server, config, run
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    server.remove()


def test_a_sweep_waits_for_its_database_and_stops_without_it(away):
    server, config, run = away
    storage = storage_of(Sweep({**config}).config)
    process = run(patience_s=6)
    wait_until(process, "its first steps", lambda: count(storage, "RELEASE") > 20)
    server.stop()
    time.sleep(0.5)  # steps whose tokens were drawn end
    before = count(storage, "RELEASE")
    time.sleep(1)
    assert count(storage, "RELEASE") == before  # it pauses
    server.start()
    wait_until(process, "further steps", lambda: count(storage, "RELEASE") > before + 10)  # and continues
    server.stop()  # for good
    out, err = process.communicate(timeout=LIMIT_S)
    last = err.strip().splitlines()[-1]
    assert (process.returncode, out) == (3, ""), err
    assert last.startswith("Ledger refused: "), err
    assert "does not answer" in last
    assert "start the same command again" in last
    assert "Traceback" not in err
    server.start()
    out, err = run(patience_s=30).communicate(timeout=LIMIT_S)
    assert out.startswith("{"), err
    result = json.loads(out)
    assert [trial["state"] for trial in result["trials"]] == ["complete"] * 2
    ledger = Ledger(config["budget"]["ledger"])
    ledger.verify_all()
    drawn, cap = ledger.drawn("test", TRAIN_STEP), 2 * NUM_STEPS + 20
    assert count(storage, "RELEASE") == 2 * NUM_STEPS <= count(storage, "RESERVE") <= drawn <= cap
    assert result["statement"]["epsilon_total"] == Sweep({**config}).plan().epsilon


@pytest.mark.parametrize("resumed", [False, True], ids=["begun", "resumed"])
@pytest.mark.parametrize("verb", ["train", "sweep"])
def test_a_ledger_that_does_not_answer_is_one_line_at_once(settings, tmp_path, monkeypatch, verb, resumed):
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: pytest.fail("it waits"))
    monkeypatch.setattr("orchestrator.privacy.ledger.drawer.time", clock)
    settings["budget"] = {"ledger": f"postgresql://somebody@/nothing?host={tmp_path}"}
    if resumed:
        config = (load_run if verb == "train" else load_sweep)(settings)
        write_stored_config(storage_of(config), config)
    done = CliRunner().invoke(app, [verb, str(write_config(tmp_path, settings))])
    assert (done.exit_code, done.stdout) == (3, "")
    line = done.stderr.rstrip("\n").splitlines()[-1]
    assert line.startswith("Ledger refused: The ledger at postgresql+psycopg://somebody@/nothing?host=")
    assert "does not answer" in line


@pytest.fixture
def settings(project, tmp_path):
    from tests.support.settings import quick_settings

    return quick_settings(project, tmp_path)


def train(settings: dict, folder: Path, *overrides: str) -> dict:
    sets = [part for override in overrides for part in ("--set", override)]
    path = write_config(folder, settings)
    done = CliRunner().invoke(app, ["train", str(path), "--format", "json", *sets])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_pure_epsilon_from_a_configuration_to_a_statement(settings, tmp_path):
    result = train(settings, tmp_path, "privacy.noise=laplace", "privacy.delta=0", *DP_ZO)
    statement = result["statement"]
    assert (statement["delta_total"], statement["delta_here"]) == (0.0, 0.0)
    assert statement["epsilon_total"] == pytest.approx(4 * 0.0552, abs=2e-3)  # 4·ln(1 + 8/40·(e^(1/4) − 1))
    assert "Laplace noise of scale 4 × C" in statement["mechanism"]
    log = (tmp_path / "runs" / "test" / LOG_NAME).read_text()
    assert '"mechanism.noise":"laplace"' in log
    assert log.count('"type":"RELEASE"') == 4


def with_users(settings: dict, folder: Path) -> None:
    rows = [json.loads(line) for line in Path(settings["data"]["train"]).read_text().splitlines()]
    path = folder / "users.jsonl"
    path.write_text("".join(json.dumps(row | {"user": f"u{n % 10}"}) + "\n" for n, row in enumerate(rows)))
    settings["data"] |= {"train": str(path), "user_column": "user", "max_examples_per_user": 2, "num_users": 10}
    settings["privacy"]["expected_batch_size"] = 4


def test_users_as_the_unit_from_a_configuration_to_a_statement(settings, tmp_path):
    with_users(settings, tmp_path)
    statement = train(settings, tmp_path)["statement"]
    assert statement["unit"] == "user"
    assert "each user joins each batch independently with probability 0.4" in statement["sampler"]
    (budget,) = Ledger(f"sqlite:///{tmp_path / 'runs' / 'dpzo.db'}").budgets()
    assert (budget.unit, budget.num_units) == ("user", 10)
    assert "number of users as declared (10)" in statement["public_data"]


@pytest.fixture
def no_weights(monkeypatch):
    """Leave out the model, which plays no part in a split."""
    monkeypatch.setattr("trainers.workspace.open_evaluator", lambda config, tokenizer: (None, 0.0))
    monkeypatch.setattr("trainers.workspace.require_positions", lambda evaluator, examples: None)
    monkeypatch.setattr("trainers.workspace._gradients", lambda config, evaluator, tokenizer: None)


def sides(workspace) -> tuple[list, list]:
    return [one.prompt_ids for one in workspace.examples], [one.prompt_ids for one in workspace.validation]


@pytest.mark.parametrize("users", [False, True])
def test_every_lane_and_every_start_sees_the_same_split(settings, tmp_path, no_weights, users):
    if users:
        with_users(settings, tmp_path)
        settings["privacy"]["expected_batch_size"] = 2
    number_rows(settings, tmp_path)
    settings["data"] |= {"validation": None, "validation_share": 0.4}
    settings["score"] |= {"on": "private"}
    sweep = Sweep(settings)
    storage = storage_of(sweep.config)
    reserve_plan(sweep.plan(), storage)
    lanes = [SweepContext(sweep.plan(), storage, threads=1).workspace() for _ in range(2)]
    alone = load_run({k: v for k, v in settings.items() if k != "search"})
    run = open_keyed_workspace(alone, storage, Ranks(), create_ledger=True)
    training, validation = sides(lanes[0])
    assert sides(lanes[1]) == sides(run) == (training, validation)
    if not users:  # of ten users, all may fall on one side
        assert training
        assert validation
    assert len(training) + len(validation) == len(read_rows(settings["data"]["train"], ["text"], "data.train"))
    assert not set(training) & set(validation)
    if users:
        assert not set(lanes[0].users) & set(lanes[0].validation_users)
    elsewhere = Sweep(settings | {"storage_path": str(tmp_path / "elsewhere")})  # another ledger, another key
    other = storage_of(elsewhere.config)
    reserve_plan(elsewhere.plan(), other)
    assert sides(SweepContext(elsewhere.plan(), other, threads=1).workspace()) != (
        training,
        validation,
    )


def number_rows(settings: dict, folder: Path) -> None:
    """Make every row's prompt its own, so that rows differ."""
    rows = [json.loads(line) for line in Path(settings["data"]["train"]).read_text().splitlines()]
    path = folder / "numbered.jsonl"
    words = ["food", "service", "was", "very", "not", "good"]
    for number, row in enumerate(rows):
        row["text"] = " ".join(words[(number // 6**place) % 6] for place in range(3))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings["data"]["train"] = str(path)


def test_a_delta_that_promises_nothing_is_warned_of_in_the_plan(settings, tmp_path):
    with_users(settings, tmp_path)
    path = write_config(tmp_path, settings)
    said = CliRunner().invoke(app, ["plan", str(path), "--set", "privacy.delta=0.1"]).stdout  # 10 users
    assert "δ ≥ 1 / num_users: publishing one user at random would satisfy it" in " ".join(said.split())
    assert "δ ≥" not in CliRunner().invoke(app, ["plan", str(path), "--set", "privacy.delta=0.05"]).stdout


@pytest.mark.parametrize(
    "search",
    [
        "search.menu=[{num_steps: 4, expected_batch_size: 8, noise_multiplier: 4}]",
        "search.filter={order: 16, space: {privacy.noise_multiplier: {low: 3.0, high: 8.0}}}",
    ],
)
def test_the_plan_of_a_menu_or_a_filter_is_private(settings, tmp_path, search):
    path = str(write_config(tmp_path, settings))
    sets = [f"--set={text}" for text in (search, "privacy.noise_multiplier=null", "privacy.epsilon=8")]
    total = make_plan(Sweep(path, [text[6:] for text in sets]).config).epsilon
    said = CliRunner().invoke(app, ["plan", path, *sets])
    assert "not private" not in said.stdout
    assert "total ε" in said.stdout
    planned = json.loads(CliRunner().invoke(app, ["plan", path, *sets, "--format", "json"]).stdout)
    assert (planned["private"], planned["epsilon"]) == (True, total)
