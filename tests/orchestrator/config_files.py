"""The configuration file that the tests of the configuration start from."""

import pytest

from orchestrator.config.errors import ConfigError
from orchestrator.config.loading import load_run, load_sweep

QUICKSTART = """\
name: quickstart
storage_path: runs
data:
  train: private.jsonl
  num_examples: 4000
  validation: public.jsonl
task:
  template: "{text} It was"
  label_column: label
  label_words: {no: " terrible", yes: " great"}
model: {path: model, head: causal-lm, trainable: full}
method: {name: dp-aggzo, num_steps: 300, num_directions: 4}
privacy: {epsilon: 8, delta: 1e-5, expected_batch_size: 32}
score: {on: public, times: 3}
search:
  num_trials: 8
  concurrent_trials: 2
  sampler: tpe
  seed: 0
  early_stopping: none      # or asha
  space:
    method.smoothing: {low: 1e-3, high: 1.0e-1, log: true}
    method.clip_norm: {low: 0.3, high: 30, log: true}
    method.learning_rate: {low: 1E-4, high: 1.0e-2, log: true}
"""


def sweep_lines(source, *overrides):
    """Lines that a sweep's configuration is refused with."""
    with pytest.raises(ConfigError) as refusal:
        load_sweep(source, overrides)
    return list(refusal.value.lines)


def run_lines(source, *overrides):
    """Lines that a run's configuration is refused with."""
    with pytest.raises(ConfigError) as refusal:
        load_run(source, overrides)
    return list(refusal.value.lines)
