import json
import pickle
import random
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.config.errors import ConfigError
from orchestrator.config.loading import load_run, load_sweep, resolved_json
from orchestrator.config.models import LedgeredConfig, SweepConfig
from search_spaces.trial_config import apply
from tests.orchestrator.config_files import run_lines, sweep_lines
from trainers.config import RunConfig

SPACE = "search.space."


def test_a_sweep_is_read_from_its_file(quickstart):
    config = load_sweep(quickstart)
    assert (config.search.num_trials, config.search.concurrent_trials, config.search.seed) == (8, 2, 0)
    assert config.search.space.root["method.smoothing"].ends == (1e-3, 1e-1)
    assert config.search.space.root["method.learning_rate"].ends == (1e-4, 1e-2)
    assert config.privacy.delta == 1e-5
    assert config.task.label_names == ["no", "yes"]


def test_a_run_reads_the_same_file_without_its_search(quickstart):
    run, sweep = load_run(quickstart), load_sweep(quickstart)
    assert type(run) is LedgeredConfig
    assert run.model_dump(exclude={"budget"}) == apply(sweep, {}).model_dump()
    assert run.budget == sweep.budget


def test_a_run_ignores_a_broken_search_but_refuses_to_override_one(quickstart):
    broken = quickstart.read_text().replace("sampler: tpe", "sampler: nonsense")
    quickstart.write_text(broken)
    assert load_run(quickstart).name == "quickstart"
    assert run_lines(quickstart, "search.seed=1", "method.num_steps=2") == [
        "search.seed=1: one run has no search; leave it out, or start a sweep"
    ]


def test_an_argument_mapping_is_left_as_it_was(quickstart):
    mapping = json.loads(resolved_json(load_sweep(quickstart)))
    before = json.dumps(mapping)
    assert load_run(mapping, ["method.num_steps=7"]).method.num_steps == 7
    assert load_sweep(mapping, ["search.num_trials=3"]).search.num_trials == 3
    assert json.dumps(mapping) == before


def test_a_trial_is_a_run_without_a_search(quickstart):
    config = load_sweep(quickstart)
    trial = apply(config, config.search.space.sample(random.Random(0)))
    assert type(trial) is RunConfig
    assert trial.privacy == config.privacy
    assert trial.method.smoothing != config.method.smoothing


def test_overrides_reach_every_depth(quickstart):
    config = load_sweep(
        quickstart,
        [
            "method.num_steps=100",
            f"{SPACE}method.smoothing={{low: 1e-4, high: 1e-2, log: true}}",
            f"{SPACE}method.clip_norm.high=60",
            f"{SPACE}method.direction={{choices: [gaussian, rademacher]}}",
            "model.lora.rank=4",
            "model.trainable=lora",
        ],
    )
    assert config.method.num_steps == 100
    assert config.search.space.root["method.smoothing"].ends == (1e-4, 1e-2)
    assert config.search.space.root["method.clip_norm"].ends == (0.3, 60.0)
    assert config.search.space.root["method.direction"].ends == ("gaussian", "rademacher")
    assert config.model.lora.rank == 4


def test_a_sweep_needs_examples_to_score_on(quickstart):
    assert sweep_lines(quickstart, "data.validation=null") == [
        "data.validation: missing. A sweep compares its trials by their score on it."
    ]
    assert load_run(quickstart, ["data.validation=null"]).data.validation is None


def test_a_sweep_needs_a_search(quickstart):
    quickstart.write_text(quickstart.read_text().partition("search:")[0])
    assert sweep_lines(quickstart) == [
        "search: missing. How trials are chosen: num_trials and space, and how to sample it."
    ]


def test_asha_needs_scores_along_the_way(quickstart):
    asha = "search.early_stopping=asha"
    assert load_sweep(quickstart, [asha, "score.times=2"]).search.early_stopping.kind == "asha"
    assert sweep_lines(quickstart, asha, "score.times=1") == [
        "search.early_stopping: asha compares scores along the way: set score.times to 2 or more, got 1"
    ]


@pytest.mark.parametrize(
    ("override", "lines"),
    [
        (
            "method.smoothing={low: -1, high: 1}",
            ["method.smoothing: -1.0 cannot be tried: must be greater than 0"],
        ),
        (
            "method.num_directions={choices: [1, 4, 5000]}",
            [
                "method.num_directions: 1 cannot be tried: DP-AggZO takes num_directions 2 to 4096, not 1",
                "method.num_directions: 5000 cannot be tried: DP-AggZO takes num_directions 2 to 4096, not 5000",
            ],
        ),
        (
            "method.num_directions={choices: [2.5]}",
            ["method.num_directions: 2.5 cannot be tried: must be a whole number"],
        ),
        (
            "method.direction={choices: [gaussian, radmacher]}",
            [
                "method.direction: 'radmacher' cannot be tried: must be 'gaussian', 'rademacher', 'sphere', "
                "'low-rank', 'activation' or 'public-gradient'"
            ],
        ),
    ],
)
def test_every_end_of_the_space_must_suit_the_run(quickstart, override, lines):
    assert sweep_lines(quickstart, SPACE + override) == [SPACE + line for line in lines]


def test_directions_of_a_method_with_one_cannot_vary(quickstart):
    dpzero = ["method.name=dpzero", "method.num_directions=1"]
    assert load_sweep(quickstart, dpzero).method.name == "dpzero"
    assert sweep_lines(quickstart, *dpzero, f"{SPACE}method.num_directions={{low: 1, high: 4}}") == [
        "search.space.method.num_directions: 4 cannot be tried: DPZero takes num_directions 1, not 4"
    ]


@pytest.mark.parametrize("name", ["privacy.noise_multiplier", "privacy.expected_batch_size", "method.num_steps"])
def test_what_enters_the_event_cannot_vary(quickstart, name):
    (line,) = sweep_lines(quickstart, f"{SPACE}{name}={{low: 1, high: 2}}")
    assert line.startswith(f"search.space.{name}: fixed before the sweep")


def test_the_resolved_configuration_loads_again(quickstart, tmp_path):
    for load in (load_run, load_sweep):
        config = load(quickstart, ["method.learning_rate=3e-07"])
        text = resolved_json(config)
        assert json.loads(text)["performance"]["device"] == "cpu"
        path = tmp_path / "resolved.json"
        path.write_text(text, encoding="utf-8")
        assert load(path) == config
        assert resolved_json(load(path)) == text


positive = st.floats(min_value=1e-300, max_value=1e300)


@given(
    template=st.text().filter(lambda text: "{" not in text and "}" not in text),
    labels=st.dictionaries(st.text(), st.text(), min_size=2, max_size=4),
    numbers=st.tuples(positive, positive, positive),
    delta=st.floats(0, 1, exclude_min=True, exclude_max=True),
    num_examples=st.integers(64, 10**30),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_configuration_loads_again_from_its_json(tmp_path, template, labels, numbers, delta, num_examples):
    smoothing, clip_norm, epsilon = numbers
    space = {"method.smoothing": {"low": smoothing, "high": smoothing * 2}, "method.clip_norm": {"choices": [1, 2.5]}}
    config = SweepConfig.model_validate(
        {
            "name": "any",
            "data": {"train": template, "num_examples": num_examples, "validation": "public.jsonl"},
            "task": {
                "template": f"{template.translate({ord(brace): None for brace in '{}'})}{{text}}",
                "label_column": "label",
                "label_words": labels,
            },
            "model": {"path": "model"},
            "method": {"smoothing": smoothing, "clip_norm": clip_norm},
            "privacy": {"epsilon": epsilon, "delta": delta},
            "search": {"num_trials": 3, "space": space},
        }
    )
    path = tmp_path / "any.json"
    path.write_text(resolved_json(config), encoding="utf-8", newline="")
    assert load_sweep(path) == config
    assert load_run(path).model_dump(exclude={"budget"}) == apply(config, {}).model_dump()


def test_a_configuration_is_frozen(quickstart):
    config = load_sweep(quickstart)
    with pytest.raises(ValidationError, match="frozen"):
        config.search.num_trials = 100


def test_an_error_survives_pickling(quickstart):
    error = ConfigError("one", "two")
    again = pickle.loads(pickle.dumps(error))
    assert (again.lines, str(again)) == (("one", "two"), "one\ntwo")
    assert isinstance(error, ValueError)


def test_importing_the_configuration_loads_nothing_heavy():
    code = (
        "import sys, orchestrator.config.models, search_spaces.space\n"
        "print([name for name in ('torch', 'ray', 'optuna', 'transformers', 'vllm', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["dpzo.db", "DPZO.DB-wal", "config.json", "release_log.jsonl", "operator-only"])
def test_a_run_has_no_name_of_our_own_files(quickstart, name):
    (line,) = run_lines(quickstart, f"name={name}")
    assert line == f"name: {name!r} is the name of one of dpzo's own files; give another"


def test_a_text_that_no_file_can_hold_is_refused(quickstart):
    (line,) = run_lines(quickstart, "data.train=\udcff")
    assert line == "a text holds half of a surrogate pair, or the name of a file that is not UTF-8"
