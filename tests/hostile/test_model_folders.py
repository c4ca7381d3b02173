"""Model folders of every sort: a configuration or a tokenizer that is none, and files that are damaged."""

import json
import shutil
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile import answered, changed_values, damaged_bytes, hostile

FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
VERBS = (["data", "preview"], ["plan", "--brief"])
NUMBERS = st.sampled_from((None, True, 0, -1, 3, 0.5, "", "x", "../x", [], {}, [1], {"a": 1}, 10**15, float("nan")))


def ask(settings, folder, change):
    """Change a copy of the model, and ask with it."""
    model = folder / "model"
    shutil.copytree(settings["model"]["path"], model)
    change(model)
    (folder / "c.json").write_text(json.dumps({**settings, "model": {"path": str(model)}}))
    answered(["data", "preview", str(folder / "c.json")])
    answered(["plan", "--brief", str(folder / "c.json")])


def test_values_that_are_none(settings, fresh):
    whole = {name: json.loads((Path(settings["model"]["path"]) / name).read_text()) for name in FILES[:3]}

    @hostile(60)
    @given(st.data(), st.sampled_from(FILES[:3]))
    def change(data, name):
        new = data.draw(changed_values(whole[name], NUMBERS))
        ask(settings, fresh(), lambda model: (model / name).write_text(json.dumps(new)))

    change()


def test_files_that_are_damaged(settings, fresh):
    whole = {name: (Path(settings["model"]["path"]) / name).read_bytes() for name in FILES}

    @hostile(60)
    @given(st.data(), st.sampled_from(FILES))
    def damage(data, name):
        new = data.draw(damaged_bytes(whole[name]))
        ask(settings, fresh(), lambda model: (model / name).write_bytes(new))

    damage()


def test_files_that_are_missing_or_are_none(settings, fresh):
    def to_folder(path):
        path.unlink()
        path.mkdir()

    def to_loop(path):
        path.unlink()
        path.symlink_to(path)

    @hostile(15)
    @given(st.sampled_from(FILES), st.sampled_from((Path.unlink, to_folder, to_loop)))
    def replace(name, how):
        ask(settings, fresh(), lambda model: how(model / name))

    replace()
