import pytest

from mapo.data.prompting import THINK_AND_BOX, build_messages

IMAGE = {"type": "image"}


def words(text):
    return {"type": "text", "text": text}


def content(question, images=(), **kwargs):
    messages, shown = build_messages(question, images, **({"instruction": ""} | kwargs))
    return messages[-1]["content"], shown


def test_the_default_instruction_asks_for_what_the_rewards_look_for():
    messages, _ = build_messages("1 + 1?", ())
    assert messages == ({"role": "user", "content": f"1 + 1?\n\n{THINK_AND_BOX}"},)
    assert all(word in THINK_AND_BOX for word in ("<think> </think>", "\\boxed{}"))


def test_a_system_message_comes_first():
    messages, _ = build_messages("1 + 1?", (), instruction="", system="Be brief.")
    assert messages == ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"})


def test_pictures_stand_where_the_text_refers_to_them():
    assert content("<image>Find x.", ["a"]) == ([IMAGE, words("Find x.")], ("a",))
    assert content("Is <image> like <image>?", ["a", "b"])[0] == [
        words("Is "),
        IMAGE,
        words(" like "),
        IMAGE,
        words("?"),
    ]


def test_pictures_without_a_marker_come_first():
    assert content("Find x.", ["a", "b"]) == ([IMAGE, IMAGE, words("Find x.")], ("a", "b"))
    assert content("Find <image2>", ["a", "b"]) == ([IMAGE, words("Find "), IMAGE], ("a", "b"))


def test_numbered_markers_name_their_picture_as_often_as_they_like():
    parts, shown = content("<image2> is left of <image1>, so <image2> is first", ["a", "b"])
    assert [part["type"] for part in parts] == ["image", "text", "image", "text", "image", "text"]
    assert shown == ("b", "a", "b")


def test_the_instruction_follows_a_question_that_ends_in_a_picture_and_may_speak_of_markers():
    assert content("Look: <image>", ["a"], instruction="Mind <image>.")[0] == [
        words("Look: "),
        IMAGE,
        words("\n\nMind <image>."),
    ]


@pytest.mark.parametrize(
    ("question", "images", "message"),
    [
        ("<image> and <image>", ["a"], "marker for picture 2, but the row has 1"),
        ("see <image3>", ["a", "b"], "marker for picture 3, but the row has 2"),
        ("see <image>", [], "marker for picture 1, but the row has 0"),
        ("<image> and <image1>", ["a"], "mixes <image> with numbered markers"),
        (" \n", [], "the question is empty"),
        ("<image>", ["a"], "the question is empty"),
    ],
)
def test_a_question_that_does_not_fit_its_pictures_is_refused(question, images, message):
    with pytest.raises(ValueError, match=message):
        build_messages(question, images)


def test_an_instruction_that_holds_the_question_is_the_whole_text():
    template = "Look.\n{question}\nSay {yes} or no; <image> is a word here."
    messages, images = build_messages("Is <image> red?", ["a.png"], instruction=template)
    assert messages[0]["content"] == [
        {"type": "text", "text": "Look.\nIs "},
        {"type": "image"},
        {"type": "text", "text": " red?\nSay {yes} or no; <image> is a word here."},
    ]
    assert images == ("a.png",)


def test_pictures_without_a_marker_come_before_all_text():
    messages, _ = build_messages("Is it red?", ["a.png"], instruction="Look: {question}")
    assert messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": "Look: Is it red?"}]
