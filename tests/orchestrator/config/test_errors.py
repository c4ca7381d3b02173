import pytest

from orchestrator.config.loading import load_run
from tests.orchestrator.config_files import run_lines, sweep_lines


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("method.smothing=1", "method.smothing: unknown key. Did you mean 'smoothing'? Known keys: name, num_steps, "),
        ("method.zzz=1", "method.zzz: unknown key. Known keys: name, num_steps, "),
        ("smoothing=1", "smoothing: unknown key. Did you mean 'method.smoothing'? Known keys: name, storage_path, "),
        ("privacy.noise_multiplier=-1", "privacy.noise_multiplier: must be greater than 0, got -1"),
        ("privacy.noise_multiplier=.nan", "privacy.noise_multiplier: must be a finite number, got nan"),
        ("privacy.epsilon=eight", "privacy.epsilon: must be a number, got 'eight'"),
        ("privacy.delta=1", "privacy.delta: must be less than 1, got 1"),
        ("method.num_steps=many", "method.num_steps: must be a whole number, got 'many'"),
        ("data=null", "data: must be a mapping of keys to values, got None"),
        ("data={train: a}", "data.num_examples: missing. Declared number of private examples, a public constant"),
        ("task={0: a}", "task.0: keys must be texts, got 0"),
        ("task.template=null", "task.template: must be a text, got None"),
        ("name=a b", "name: must match pattern "),
        ("task.labels=[a, b]", "task: give exactly one of label_words"),
        ("privacy.expected_batch_size=1e5", "privacy.expected_batch_size 100000 exceeds data.num_examples 4000"),
        ("method.name=dpzo", "method.name: unknown method 'dpzo'. Did you mean 'dp-zo'? Known: mezo, dp-zo, dpzero, "),
        ("method={name: dpzero, num_directions: 4}", "method: DPZero takes num_directions 1, not 4"),
        ("method.smoothing=-1", "method.smoothing: must be greater than 0, got -1"),
        ("method.smoothing=small", "method.smoothing: must be a number, got 'small'"),
        ("method.smoothing={kind: cosin}", "method.smoothing: must be a number, or a schedule: {kind: constant, "),
        ("method.smoothing={kind: cosine, start: 1}", "method.smoothing.end: missing. Value at the last step."),
        ("method.clip_norm={kind: stagewise, start: 1, factor: 1}", "method: clip_norm is stagewise and DP-Agg"),
        ("method.clip_norm={kind: stagewise, start: 1}", "method.clip_norm: give start and factor, or values"),
        ("privacy.noise_multiplier={kind: step}", "privacy.noise_multiplier: takes no schedule: σ and q set the cost"),
        ("privacy.expected_batch_size={kind: step}", "privacy.expected_batch_size: takes no schedule: σ and q set"),
        ("method.preset=dp-agzo/opt-1.3b", "method: unknown preset 'dp-agzo/opt-1.3b'. Did you mean 'dp-agg"),
        ("method={preset: dpzero/roberta-large}", "method.preset 'dpzero/roberta-large' was published for model.head "),
        ("method.preset=dpzero/opt-1.3b", "method: preset 'dpzero/opt-1.3b' is one of dpzero, and name says 'dp-a"),
        (
            "method.stage_steps=10",
            "method: DP-AggZO has no stage_steps: remove method.stage_steps, or choose dp-zoso or ",
        ),
        ("method.mask={keep: 0.1}", "method: DP-AggZO has no mask: remove method.mask, or choose dp-zopo"),
        ("method={name: dp-zopo, mask: {keep: 2}}", "method: mask.keep is a share, at most 1, and reaches 2"),
        ("method={name: dp-zopo, mask: null}", "method: DP-ZOPO needs mask: {keep: 0.01}"),
        ("method={name: dp-zopo, mask: {strategy: incremental}}", "method.mask: an incremental mask needs a keep"),
        ("method={name: mezo, shrinkage: 0.9}", "method: MeZO has no shrinkage: remove method.shrinkage"),
        ("method={name: dp-zo, difference: centred}", "method: difference: centred takes a mean over directions"),
    ],
)
def test_a_line_names_the_key_and_what_is_wrong(quickstart, override, line):
    assert any(found.startswith(line) for found in run_lines(quickstart, override))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "samplr=tpe",
            "search.samplr: unknown key. Did you mean 'sampler'? Known keys: num_trials, concurrent_trials, ",
        ),
        (
            "sampler=tpee",
            "search.sampler: must be 'auto', 'tpe', 'random', 'gp', 'qmc', 'cma-es' or 'nsga2', got 'tpee'. Did you "
            "mean 'tpe'?",
        ),
        ("space=null", "search.space: must be a mapping of keys to values, got None"),
        ("space={}", "search.space: needs at least one setting to vary, such as method.learning_rate"),
        (
            "space.method.clip_norm=3",
            "search.space.method.clip_norm: must be a range, {low: …, high: …, log: true}, or a",
        ),
        ("space.method.clip_norm={low: 1}", "search.space.method.clip_norm.high: missing. Largest value, included."),
        (
            "space.method.clip_norm.lwo=3",
            "search.space.method.clip_norm.lwo: unknown key. Did you mean 'low'? Known keys: low, high, log, step, "
            "when",
        ),
        (
            "space.method.clip_norm.times=3",
            "search.space.method.clip_norm.times: unknown key. Known keys: low, high, log, step, when",
        ),
        (
            "space.method.clip_norm={choices: [1], low: 3}",
            "search.space.method.clip_norm.low: unknown key. Known keys: choices",
        ),
        (
            "space.method.clip_norm.low=90",
            "search.space.method.clip_norm: low must be below high, got low 90 and high 30",
        ),
        (
            "space.smoothing={low: 1, high: 2}",
            "search.space.smoothing: unknown name. Did you mean 'method.smoothing'? Searchable: method.num_directions",
        ),
        (
            "space.epsilon=3",
            "search.space.epsilon: unknown name. If 'privacy.epsilon' is meant: fixed before the sweep",
        ),
        ("space.method={smoothing: {low: 1, high: 2}}", "search.space.method: a section: write dotted names"),
    ],
)
def test_a_problem_of_the_search_is_one_line(quickstart, override, line):
    (found,) = sweep_lines(quickstart, f"search.{override}")
    assert found.startswith(line)


def test_all_problems_are_told_at_once(quickstart):
    lines = sweep_lines(
        quickstart,
        "method.num_steps=0",
        "privacy.epsilon=-8",
        "data.trian=x",
        "search.num_trials=0",
        "search.space.method.smoothing.low=1",
        "search.space.privacy.delta={choices: [1]}",
    )
    places = [line.split(": ")[0] for line in lines]
    assert places == [
        "data.trian",
        "method.num_steps",
        "privacy.epsilon",
        "search.num_trials",
        "search.space.method.smoothing",
        "search.space.privacy.delta",
    ]
    assert not any("\n" in line for line in lines)


def test_a_missing_section_tells_what_it_holds(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text("name: short\n")
    assert run_lines(path) == [
        "data: missing. Where the examples come from. Needs train, num_examples.",
        "task: missing. How a row becomes a prompt and what is to be predicted. Needs template.",
        "model: missing. Which model, and which of its parameters train. Needs path.",
    ]


def test_numbers_as_labels_need_no_quotes(quickstart):
    quickstart.write_text(quickstart.read_text().replace("{no: ", "{0: "))
    assert "0" in load_run(quickstart).task.label_names


def test_a_long_value_is_cut(quickstart):
    (line,) = run_lines(quickstart, f"method.num_steps={'x' * 500}")
    assert len(line) < 140
