"""`dpzo demo`: writes the quickstart's model, data and configuration into a folder.

The wheel carries them beside this file (pyproject.toml, force-include); in a checkout they are in examples/.
"""

import shutil
from pathlib import Path

_OF_WHEEL = Path(__file__).parent / "demo_files"
_OF_CHECKOUT = Path(__file__).parents[3] / "examples"
_DATA = ("model", "private.jsonl", "public_validation.jsonl")
CONFIG, FOLDER = "demo.yaml", "demo"
_HEAD = """\
# Ten private trials of a small language model on this machine's CPU, under one total epsilon: some minutes.
#   dpzo plan demo.yaml      what it will cost, before any private row is read
#   dpzo sweep demo.yaml     the search, its report and its model
# Model and data are synthetic: no real person, place or review is in them.
"""


def write_demo(to: Path) -> Path:
    """Write demo.yaml and the folder demo/ below `to`, and return the path of demo.yaml.

    The configuration names the files as seen from the working directory, since its paths are relative to that.

    Raises:
        ValueError: one of the two is there already, or this installation lacks the files.
    """
    source = _OF_WHEEL if _OF_WHEEL.is_dir() else _OF_CHECKOUT
    if not (source / "quickstart.yaml").is_file():
        raise ValueError(f"{source}: the demo's files are missing; expected those of the wheel. Install dpzo again")
    for path in (to / CONFIG, to / FOLDER):
        if path.exists():
            raise ValueError(f"{path} exists already; run it with `dpzo sweep {to / CONFIG}`, or give another --to")
    (to / FOLDER).mkdir(parents=True)
    for name in _DATA:
        origin = source / "demo" / name
        (shutil.copytree if origin.is_dir() else shutil.copyfile)(origin, to / FOLDER / name)
    (to / CONFIG).write_text(_configuration(source / "quickstart.yaml", to), encoding="utf-8")
    return to / CONFIG


def _configuration(quickstart: Path, to: Path) -> str:
    """Return the quickstart's configuration under the demo's name, with the paths of the files that were written."""
    lines = quickstart.read_text(encoding="utf-8").splitlines(keepends=True)
    settings = "".join(line for line in lines if not line.startswith("#"))
    settings = settings.replace("name: quickstart", "name: demo", 1)
    return _HEAD + settings.replace("examples/demo/", f"{(to / FOLDER).as_posix()}/")
