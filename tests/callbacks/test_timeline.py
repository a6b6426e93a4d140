import json

from mapo.callbacks.timeline import Reading, Timeline


def timeline(*values: tuple[int, float]) -> Timeline:
    made = Timeline()
    for phase, value in values:
        made.read({"grid": {"accuracy": value}}, phase)
    return made


def ends(made: Timeline) -> tuple[Reading | None, Reading | None]:
    return made.before("grid", "accuracy"), made.after("grid", "accuracy")


def test_first_and_latest_are_kept():
    assert ends(timeline((0, 0.1), (5, 0.9), (10, 0.4))) == (Reading(0, 0.1), Reading(10, 0.4))


def test_of_two_validations_before_training_the_later_counts():
    assert ends(timeline((0, 0.1), (0, 0.2), (5, 0.9))) == (Reading(0, 0.2), Reading(5, 0.9))


def test_one_reading_is_before_or_after_never_both():
    assert ends(timeline((0, 0.1))) == (Reading(0, 0.1), None)
    assert ends(timeline((5, 0.1))) == (None, Reading(5, 0.1))


def test_an_unchanged_figure_still_has_both():
    assert ends(timeline((5, 0.1), (10, 0.1))) == (Reading(5, 0.1), Reading(10, 0.1))


def test_a_set_that_was_never_read_has_neither():
    assert ends(Timeline()) == (None, None)


def test_it_survives_a_checkpoint():
    made = timeline((0, 0.1), (5, 0.9))
    assert Timeline.from_state_dict(json.loads(json.dumps(made.state_dict()))) == made
