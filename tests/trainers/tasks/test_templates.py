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
        ("{text", r"task\.template: .*Columns stand in braces; write a literal brace twice"),
        ("text}", r"write a literal brace twice"),
        ("{}", r"names no column; write the column between the braces"),
        ("{text:>20}", r"\{text:>20\} asks for a format; a column's text is used as it is: \{text\}"),
        ("{text!r}", r"\{text!r\} asks for a format"),
        ("{text|shout}", r"\{text\|shout\} asks for a change 'shout'; there are stripped, open, lower, ask"),
        ("{text|lower:a}", r"\{text\|lower:a\} asks for a format"),
        ("{text|cloze}", r"\{text\|cloze\} needs the column of what to put in: \{text\|cloze:column\}"),
        ("{a|each} {b|first}", r"goes through more than one list \(a, b\); use one"),
        ("It was", r"task\.template names no column"),
        ("", r"names no column"),
    ],
)
def test_an_unusable_template_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        Template.parse(text, "task.template")


@pytest.mark.parametrize("column", ["Your comments: anything?", "wow! great", "a:b c", "x y", "1:2:3", "Score: 5"])
def test_a_column_may_hold_blanks_and_colons(column):
    template = Template.parse(f"{{{{{{{column}}}}}}} {{{column}|stripped}}", "task.template")
    assert template.columns == [column]
    assert template.fill({column: " yes "}, "row 1") == "{ yes } yes"


def test_a_text_of_megabytes_is_refused():
    template = Template.parse("{a}", "task.template")
    assert len(template.fill({"a": "x" * 1_000_000}, "row 1")) == 1_000_000
    with pytest.raises(ValueError, match=r"row 1: the text of task\.template is longer than 1,000,000 characters"):
        template.fill({"a": "x" * 1_000_001}, "row 1")


def test_values_become_text():
    row = {"a": "1 ", "b": 1, "c": 1.5, "d": True, "e": None}
    assert [text_of(row, name, "row 1") for name in "abcd"] == ["1 ", "1", "1.5", "true"]
    with pytest.raises(ValueError, match="row 1: column 'e' is missing or null"):
        text_of(row, "e", "row 1")


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("{a|stripped}", " good ", "good"),
        ("{a|open}", "He left. ", "He left"),
        ("{a|open}", "He left", "He left"),
        ("{a|open}", "", ""),
        ("{a|lower}", "The END", "the END"),
        ("{a|ask}", "is it so", "Is it so?"),
        ("{a|ask}", "is it so ? ", "Is it so?"),
        ("{a|connective}", "cause", "because"),
        ("{a|connective}", "effect", "so"),
        ("{a|highlights}", "x\n@highlight\ny", "x\n- y"),
        ("{a|first}", ["one", "two"], "one"),
        ("{a|first}", "alone", "alone"),
        ("{a|each}", [1, True], "1"),
    ],
)
def test_a_column_may_be_changed_in_a_few_fixed_ways(text, value, expected):
    assert Template.parse(text, "task.template").fill({"a": value}, "row 1") == expected


def test_a_list_makes_a_text_of_each_item_once():
    cloze = Template.parse("{q|cloze:names}!", "task.options")
    assert (cloze.columns, cloze.list_columns, cloze.makes_option_per_item) == (["q", "names"], ["names"], True)
    row = {"q": "@placeholder met @placeholder", "names": ["Ann", "Bob", "Ann"]}
    assert cloze.fill_each(row, "row 1") == {"Ann": "Ann met Ann!", "Bob": "Bob met Bob!"}
    first = Template.parse(" {a|first}", "task.target")
    assert (first.makes_option_per_item, first.fill_each({"a": ["x", "y"]}, "row 1")) == (False, {"x": " x", "y": " y"})


def test_errors_of_changes_name_no_value():
    for text, value in (("{a|connective}", "secret"), ("{a}", ["secret"]), ("{a|each}", [])):
        with pytest.raises(ValueError, match="row 1: column 'a'") as caught:
            Template.parse(text, "task.template").fill({"a": value}, "row 1")
        assert "secret" not in str(caught.value)
