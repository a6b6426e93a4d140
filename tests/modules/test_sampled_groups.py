"""Which groups and completions of a phase are trained on, and in which optimizer step."""

import torch

from mapo.modules.groups import Groups
from mapo.types import Completion, EncodedPrompt, Prompt, Rollouts, Scores


def wave(names: str, *, truncated=(), invalid=()) -> Groups:
    """Groups of two completions, named by a letter and their index."""
    raw = [Prompt(name, (), (), "", {}) for name in names]
    prompts = tuple(EncodedPrompt(prompt, torch.zeros(1, dtype=torch.int64), {}, "") for prompt in raw)
    completions = tuple(
        tuple(
            Completion(p, "", f"{p.sample_id}{g}", torch.zeros(1), f"{p.sample_id}{g}" in truncated) for g in range(2)
        )
        for p in raw
    )
    valid = torch.tensor([[c.text not in invalid for c in group] for group in completions])
    rewards = torch.tensor([[float(ord(name)), 0.0] for name in names])
    scores = Scores(rewards, valid, rewards, valid, {"one": rewards})
    logprobs = tuple((torch.zeros(1), torch.zeros(1)) for _ in raw)
    return Groups.of(Rollouts(prompts, completions, logprobs, 1.0), scores, rollout=2.0, reward=0.5)


def test_of_one_wave_every_group_is_trained_on_in_equal_shares():
    groups = wave("abcd", invalid=("b1",))
    assert groups.steps(2).tolist() == [0, 0, 1, 1]
    assert groups.steps(4).tolist() == [0, 1, 2, 3]
    assert torch.equal(groups.trained(mask_truncated=False), groups.scores.valid)
    assert torch.equal(groups.used_scores.valid, groups.scores.valid)


def test_waves_are_joined_in_order_and_their_times_added():
    groups = Groups.join([wave("ab"), wave("cd")], torch.tensor([-1, 0, 2, -1]), num_slots=4)
    assert groups.sample_ids == ("a", "b", "c", "d")
    assert [group[1].text for group in groups.rollouts.completions] == ["a1", "b1", "c1", "d1"]
    assert len(groups.rollouts.sampling_logprobs) == 4
    assert groups.scores.rewards[:, 0].tolist() == groups.scores.components["one"][:, 0].tolist() == [97, 98, 99, 100]
    assert groups.seconds == {"rollout": 4.0, "reward": 1.0}


def test_groups_without_a_place_train_in_no_step_and_enter_no_statistics():
    groups = Groups.join([wave("ab"), wave("cd")], torch.tensor([-1, 0, 2, -1]), num_slots=4)
    assert groups.steps(2).tolist() == [-1, 0, 1, -1]  # two places per step, numbered over all ranks
    assert groups.used_scores.valid.tolist() == [[False] * 2, [True] * 2, [True] * 2, [False] * 2]
    assert groups.trained(mask_truncated=False).tolist() == groups.used_scores.valid.tolist()
    assert groups.used_scores.rewards[:, 0].tolist() == [0, 98, 99, 0]
    assert groups.used_scores.success.tolist() == groups.used_scores.valid.tolist()
    assert bool(groups.scores.valid.all())


def test_truncated_completions_leave_the_loss_alone():
    groups = wave("ab", truncated=("a1", "b0"), invalid=("b1",))
    assert groups.trained(mask_truncated=True).tolist() == [[True, False], [False, False]]
    assert groups.used_scores.valid.tolist() == [[True, True], [True, False]]
