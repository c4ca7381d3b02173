"""A log's header names no folder of the machine, and logs that do are still known."""

import json

import pytest

from tests.support.runs import plan_of, run_config
from trainers.config.mechanism import mechanism_plan
from trainers.mechanism.release_log import LOG_NAME, ReleaseLog
from trainers.run.header import flat, header_defaults, header_of

PLACES = {"data__train": "/home/ann/rows.jsonl", "data__validation": "~/public.jsonl", "model__path": "./models/small"}


def of_before(config):
    """Return the header as versions with whole paths wrote it."""
    header = header_of(config, plan_of(config), "base")
    sections = config.model_dump(mode="json", include={"data", "model"})
    return {**header, **dict(flat(sections))}


def test_a_header_names_files_without_their_folders():
    header = header_of(run_config(**PLACES), plan_of(run_config()), "base")
    assert (header["data.train"], header["data.validation"]) == ("rows.jsonl", "public.jsonl")
    assert header["model.path"] == "small"
    hub = run_config(model__path="facebook/opt-125m", data__train="hub:imdb:train")
    assert header_of(hub, plan_of(hub), "base")["model.path"] == "facebook/opt-125m"
    assert header_of(hub, plan_of(hub), "base")["data.train"] == "hub:imdb:train"


def test_a_log_of_before_belongs_to_its_run(tmp_path):
    config = run_config(**PLACES)
    with ReleaseLog(tmp_path / LOG_NAME, of_before(config)):
        pass
    assert "/home/ann" in (tmp_path / LOG_NAME).read_text()
    now = header_of(config, mechanism_plan(config, config.privacy.noise_multiplier), "base")
    with ReleaseLog(tmp_path / LOG_NAME, now, header_defaults()) as log:
        log.reserve("step", 0)
    other = json.loads(json.dumps({**now, "data.train": "other.jsonl"}))
    with pytest.raises(ValueError, match=r"data\.train: 'rows\.jsonl' in the log, 'other\.jsonl' now"):
        ReleaseLog(tmp_path / LOG_NAME, other, header_defaults())


def test_the_whole_log_of_150_steps_is_below_100_kilobytes(tmp_path):
    config = run_config(method__num_steps=150, method__num_directions=16)
    with ReleaseLog(tmp_path / LOG_NAME, header_of(config, plan_of(config), "0" * 64)) as log:
        for step in range(150):
            log.reserve("step", step)
            log.release("step", step, [-(2**40) - step] * 16)  # more digits than noise of any clip has
    assert (tmp_path / LOG_NAME).stat().st_size < 80_000  # and a card of some 15 kilobytes beside it
