import pytest
from pydantic import BaseModel, ValidationError, model_validator

from search_spaces.errors import refuse


class Inner(BaseModel):
    @model_validator(mode="after")
    def _refuse(self):
        refuse("Inner", [(("a", "b"), "first {braces}"), (("c",), "second")])


class Outer(BaseModel):
    inner: Inner


def test_problems_keep_their_places_below_the_model_that_found_them():
    with pytest.raises(ValidationError) as refusal:
        Outer.model_validate({"inner": {}})
    found = [(problem["loc"], problem["msg"]) for problem in refusal.value.errors()]
    assert found == [(("inner", "a", "b"), "first {braces}"), (("inner", "c"), "second")]
