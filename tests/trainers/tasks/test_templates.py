import pytest

from trainers.config import TaskConfig
from trainers.tasks.templates import Template, text_of


def test_columns_are_replaced_and_nothing_else():
    template = Template.parse("{{}} {title}: {text}{text}!", "task.template")
    assert template.columns == ["title", "text"]
    assert template.fill({"title": "{text}", "text": "a b "}, "row 1") == "{} {text}: a b a b !"


def test_the_configuration_sees_the_same_columns():
    text = "{title.upper} of {a[0]} {title.upper}"
    task = TaskConfig(template=text, target="{summary}")
    assert [*Template.parse(text, "task.template").columns, "summary"] == task.columns


def test_a_template_reaches_no_attribute_and_no_index():
    template = Template.parse("{text.__class__} {a[0]}", "task.template")
    assert template.fill({"text.__class__": "one", "a[0]": "two"}, "row 1") == "one two"
    with pytest.raises(ValueError, match=r"row 1: column 'text.__class__' is missing or null"):
        template.fill({"text": "secret", "a": ["secret"]}, "row 1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{text", r"task\.template: .*Columns stand in braces; write a brace itself twice"),
        ("text}", r"write a brace itself twice"),
        ("{}", r"names no column; write the column between the braces"),
        ("{text:>20}", r"\{text:>20\} asks for a format; a column's text is used as it is: \{text\}"),
        ("{text!r}", r"\{text!r\} asks for a format"),
        ("It was", r"task\.template names no column"),
        ("", r"names no column"),
    ],
)
def test_an_unusable_template_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        Template.parse(text, "task.template")


def test_values_become_text():
    row = {"a": "1 ", "b": 1, "c": 1.5, "d": True, "e": None}
    assert [text_of(row, name, "row 1") for name in "abcd"] == ["1 ", "1", "1.5", "true"]
    with pytest.raises(ValueError, match="row 1: column 'e' is missing or null"):
        text_of(row, "e", "row 1")
