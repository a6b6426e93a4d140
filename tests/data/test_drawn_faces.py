from itertools import combinations
from random import Random

import numpy as np

from mapo.data.drawn_faces import EMOTIONS, EXPRESSIONS, draw_face, face_prompts


def test_every_emotion_has_an_expression_of_its_own_in_every_style() -> None:
    assert len(set(EXPRESSIONS.values())) == len(EMOTIONS) == 8
    for style in ("colour", "sketch", "chalk"):
        faces = [np.asarray(draw_face(emotion, style, Random(0)), dtype=float) for emotion in EMOTIONS]
        for one, other in combinations(faces, 2):
            assert np.abs(one - other).max(axis=2).astype(bool).sum() > 40  # pixels


def test_no_two_faces_are_alike() -> None:
    rng = Random(0)
    assert len({draw_face("awe", "colour", rng).tobytes() for _ in range(20)}) == 20


def test_a_face_does_not_give_its_emotion_away_by_colour() -> None:
    """The same draws give every emotion the same background and skin: the corner and the forehead."""
    for place in ((0, 0), (42, 12)):
        assert len({draw_face(emotion, "colour", Random(1)).getpixel(place) for emotion in EMOTIONS}) == 1


def test_rows_offer_the_eight_labels_and_answer_with_one() -> None:
    rows = face_prompts("train", 64)
    assert all(row.metadata["choices"] == EMOTIONS for row in rows)
    assert {row.answer for row in rows} == set(EMOTIONS)
    text = rows[0].messages[0]["content"][1]["text"]
    assert all(emotion in text for emotion in EMOTIONS)


def test_splits_differ_in_style() -> None:
    styles = {
        split: {row.metadata["kind"] for row in face_prompts(split, 4)} for split in ("train", "out_of_domain", "hard")
    }
    assert styles == {"train": {"colour"}, "out_of_domain": {"sketch"}, "hard": {"chalk"}}
