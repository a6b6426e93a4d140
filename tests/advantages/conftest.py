"""Scores and a phase as the module hands them to an advantage."""

import pytest
import torch

from mapo.types import Phase, Scores


@pytest.fixture
def phase() -> Phase:
    return Phase(index=0, seed=0, sample_ids=("a", "b"), num_groups=2, num_active_groups=2)


@pytest.fixture
def scores_of():
    """Scores of two groups whose last completion of the second one could not be scored."""

    def build(rewards) -> Scores:
        rewards = torch.tensor(rewards, dtype=torch.float32)
        valid = torch.ones_like(rewards, dtype=torch.bool)
        valid[1, -1] = False
        rewards = rewards.masked_fill(~valid, 0.0)
        success = (rewards == 1) & valid
        return Scores(rewards=rewards, success=success, accuracy=success.float(), valid=valid, components={})

    return build
