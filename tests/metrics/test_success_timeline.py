"""Histograms over time: all groups are kept, however few columns there are."""

import json

import pytest

from mapo.metrics.success_timeline import SuccessTimeline


@pytest.mark.parametrize(("phases", "span", "columns"), [(4, 1, 4), (5, 2, 3), (8, 2, 4), (9, 4, 3), (33, 16, 3)])
def test_columns_are_added_up_when_they_are_too_many(phases, span, columns):
    timeline = SuccessTimeline(max_columns=4)
    for phase in range(phases):
        timeline.add(phase, [1, 2])
    assert (timeline.span, len(timeline.columns)) == (span, columns)
    assert [sum(counts) for counts in zip(*timeline.columns, strict=True)] == [phases, 2 * phases]
    assert timeline.columns[0] == [span, 2 * span]


def test_phases_that_were_not_seen_leave_a_gap():
    timeline = SuccessTimeline(max_columns=4)
    timeline.add(1, [1, 0])
    assert timeline.columns == [None, [1, 0]]
    timeline.add(6, [0, 1])
    assert (timeline.span, timeline.columns) == (2, [[1, 0], None, None, [0, 1]])


def test_another_group_size_begins_anew():
    timeline = SuccessTimeline(max_columns=4)
    timeline.add(0, [1, 0])
    timeline.add(1, [1, 0, 2])
    assert timeline.columns == [None, [1, 0, 2]]


def test_a_checkpoint_in_plain_values_continues_it():
    first, second = SuccessTimeline(max_columns=2), SuccessTimeline(max_columns=2)
    for phase in range(3):
        first.add(phase, [1, 1])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.add(3, [0, 5])
    assert (second.span, second.columns) == (2, [[2, 2], [1, 6]])
