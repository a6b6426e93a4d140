import pytest

from mapo.data.closed_question import closed_question


def test_every_class_is_named_in_its_order():
    question = closed_question("emotion", ["fear", "awe", "mild surprise"])
    assert question == "Which emotion does the picture show? Choose from fear, awe, mild surprise."


@pytest.mark.parametrize("labels", [[], ["awe"], ["awe", "awe"], ["awe", " "]])
def test_what_is_no_choice_is_refused(labels):
    with pytest.raises(ValueError, match="labels must be two or more different classes"):
        closed_question("emotion", labels)
