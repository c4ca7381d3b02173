import pytest

from trainers.config import TaskConfig
from trainers.tasks.labels import Labels, label_of


@pytest.mark.parametrize(
    ("names", "text", "number"),
    [
        (["0", "1"], "1.0", 1),
        (["0.0", "1.0"], "1", 1),
        (["-1", "1"], "-1.00", 0),
        (["false", "true"], "True", 1),
        (["True", "False"], "false", 1),
        (["1", "1.0"], "1.0", 1),  # an equal text comes first
        (["1", "1.0"], "1.00", None),  # it could be either
        (["0", "1"], "0.4", None),
        (["no", "yes"], "Yes", None),
        (["0", "1"], "", None),
    ],
)
def test_labels_are_compared_as_text_with_one_spelling_of_numbers_and_truth_values(names, text, number):
    assert Labels(names).number_of(text) == number


def test_a_label_may_be_the_only_item_of_a_list():
    assert label_of({"label": ["good"]}, "label", "row 1") == "good"
    assert label_of({"label": True}, "label", "row 1") == "true"
    for value in (["secret", "secret"], []):
        with pytest.raises(ValueError, match="row 1: column 'label' holds a list of labels; a row has one") as caught:
            label_of({"label": value}, "label", "row 1")
        assert "secret" not in str(caught.value)


def test_truth_values_and_numbers_of_a_configuration_are_labels():
    task = TaskConfig(template="{a}", label_column="b", label_words={True: " Yes", False: " No"})
    assert task.label_words == {"true": " Yes", "false": " No"}
    task = TaskConfig(template="{a}", label_column="b", labels=[False, 1.0], skip_labels=[True])
    assert (task.labels, task.skip_labels) == (["false", "1.0"], ["true"])
    with pytest.raises(ValueError, match="a label is there twice"):
        TaskConfig(template="{a}", label_column="b", label_words={True: " Yes", "true": " No"})
