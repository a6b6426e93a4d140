"""Groups of all ranks, without those of which nothing could be scored."""

from dataclasses import replace

import torch

from mapo.advantages.batch_normalised import BatchNormalised
from mapo.callbacks import phase_groups
from mapo.callbacks.phase_groups import PhaseGroups
from mapo.modules.records import PhaseRecord
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores


def record(names, valid=None, choices=()):
    prompts = [Prompt(name, (), (), "", {"choices": choices}) for name in names]
    ids, encoded = torch.arange(3), tuple(EncodedPrompt(prompt, torch.arange(2), {}, "") for prompt in prompts)
    completions = tuple((Completion(prompt, "", "", ids, False),) * 2 for prompt in prompts)
    rollouts = Rollouts(encoded, completions, ((torch.zeros(3),) * 2,) * len(names), 1.0)
    rewards = torch.arange(2.0 * len(names)).reshape(-1, 2) / 10
    valid = torch.ones_like(rewards, dtype=torch.bool) if valid is None else torch.tensor(valid)
    scores = Scores(rewards, rewards > 0.15, rewards, valid, {"label": rewards})
    return PhaseRecord(3, rollouts, scores, rewards - 0.1)


def test_a_group_without_a_verdict_is_left_out():
    groups = PhaseGroups.of(record(["a", "b", "c"], valid=[[True, True], [False, False], [False, True]]))
    assert groups.sample_ids == ("a", "c")
    assert groups.scores.rewards[:, 0].tolist() == torch.tensor([0.0, 0.4]).tolist()
    assert groups.scores.components["label"].shape == groups.advantages.shape == (2, 2)


def test_groups_that_no_step_trained_on_can_be_left_out():
    whole = record(["a", "b", "c", "d"], valid=[[True, True], [False, False], [True, True], [True, True]])
    groups = PhaseGroups.of(replace(whole, steps=torch.tensor([0, -1, -1, 1])))
    assert groups.sample_ids == ("a", "c", "d")
    used = PhaseGroups.joined([groups, PhaseGroups.of(record(["e"]))]).used_groups()
    assert used.sample_ids == ("a", "d", "e")
    torch.testing.assert_close(used.scores.rewards, torch.tensor([[0.0, 0.1], [0.6, 0.7], [0.0, 0.1]]))
    assert used.advantages.shape == used.scores.valid.shape == (3, 2)


def test_choices_are_counted_once_each():
    assert PhaseGroups.of(record(["a"], choices=("yes", "no", "yes"))).num_choices == (2,)
    assert PhaseGroups.of(record(["a"])).num_choices == (0,)


def test_the_groups_of_all_ranks_are_one_phase(monkeypatch):
    mine, theirs = PhaseGroups.of(record(["a", "b"])), PhaseGroups.of(record(["c"]))
    monkeypatch.setattr(phase_groups, "gather", lambda value: [value, theirs])
    groups = mine.of_all_ranks()
    assert groups.sample_ids == ("a", "b", "c")
    assert torch.equal(groups.scores.success, torch.cat([mine.scores.success, theirs.scores.success]))
    phase = groups.phase(index=3, seed=1, advantage=BatchNormalised())
    assert (phase.index, phase.seed, phase.num_groups, phase.num_active_groups) == (3, 1, 3, 3)
    assert phase.batch_sums == BatchNormalised().batch_sums(groups.scores)
