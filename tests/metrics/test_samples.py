import copy
import pickle

import pytest
import torch

from mapo.metrics.samples import Sample, SampleMetric, SampleTable

ROWS = [Sample(name, (1.0, 0.0), answers=("4", None), categories={"level": ("1",)}) for name in "cab"]


def ids(metric: SampleMetric) -> list[str]:
    return [sample.sample_id for sample in metric.compute().samples]


def test_samples_are_in_the_order_of_their_ids_however_they_came():
    metric = SampleMetric()
    metric.update(ROWS[:1])
    metric.update([])
    metric.update(ROWS[1:])
    assert ids(metric) == ["a", "b", "c"]


def test_a_sample_that_is_there_twice_is_refused():
    metric = SampleMetric()
    metric.update(ROWS)
    metric.update(ROWS[1:2])
    with pytest.raises(ValueError, match="1 samples were evaluated twice, 'a' among them"):
        metric.compute()


def test_samples_of_other_ranks_join_and_leave_again(monkeypatch):
    """What is exchanged is this rank's list; ranks without rows send an empty one."""
    ranks = [[ROWS[0]], [], ROWS[1:]]

    def gather(gathered, mine, group=None):
        gathered[:] = [*pickle.loads(pickle.dumps(ranks[:1])), *ranks[1:]]
        assert mine == ranks[0]

    monkeypatch.setattr("torch.distributed.get_world_size", lambda group=None: 3)
    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    metric = SampleMetric()
    metric.distributed_available_fn = lambda: True
    metric.update(ranks[0])
    assert ids(metric) == ["a", "b", "c"]
    assert metric.samples == ranks[0]


def test_reset_forgets_and_a_later_sample_is_seen():
    metric = SampleMetric()
    metric.update(ROWS[:2])
    assert ids(metric) == ["a", "c"]
    metric.update(ROWS[2:])
    assert ids(metric) == ["a", "b", "c"]
    metric.reset()
    metric.update(ROWS[:1])
    assert ids(metric) == ["c"]


def test_numbers_of_a_metric_on_a_half_precision_device_stay_whole():
    metric = SampleMetric().to(torch.bfloat16)
    metric.update([Sample("a", (1 / 3,))])
    assert metric.compute().samples[0].accuracy == (1 / 3,)


def test_a_sample_survives_what_sends_it_to_other_ranks():
    assert pickle.loads(pickle.dumps(ROWS[0])) == ROWS[0]
    assert copy.deepcopy(ROWS)[0] is ROWS[0]


def test_mean_accuracy_is_that_of_the_completions_and_0_without_any():
    assert (ROWS[0].mean_accuracy, Sample("bad").mean_accuracy) == (0.5, 0.0)


def test_a_table_of_nothing_is_empty():
    assert SampleTable([]).samples == ()
