import json

import pytest
from pydantic import TypeAdapter, ValidationError

from search_spaces.early_stopping import EarlyStoppingForm

FORM = TypeAdapter(EarlyStoppingForm)


@pytest.mark.parametrize(
    "written",
    ["none", "asha", "median", {"kind": "asha", "grace": 2, "factor": 3}, {"kind": "hyperband", "brackets": 2}],
)
def test_a_rule_is_stored_as_it_was_written(written):
    stored = json.loads(FORM.dump_json(FORM.validate_python(written)))
    assert stored == written
    assert FORM.validate_python(stored) == FORM.validate_python(written)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("mean", "Input should be 'none', 'asha', 'hyperband' or 'median'"),
        ({"kind": "median", "factor": 3}, "factor is a setting of asha and hyperband, not of 'median': leave it out"),
        ({"kind": "asha", "factor": 1}, "greater than or equal to 2"),
        ({"grace": 1}, "Field required"),
    ],
)
def test_a_setting_of_another_rule_is_refused(written, complaint):
    with pytest.raises(ValidationError) as refusal:
        FORM.validate_python(written)
    assert complaint in str(refusal.value)
