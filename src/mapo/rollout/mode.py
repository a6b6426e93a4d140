"""The state a policy is in while it samples."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mapo.policies.model import PolicyModel
from mapo.policies.sharding import gathered


@contextmanager
def sampling_mode(policy: PolicyModel) -> Iterator[None]:
    """Eval mode without gradients, sharded weights whole on every rank, and everything as before afterwards."""
    training = {module: module.training for module in policy.modules()}
    policy.eval()
    try:
        with torch.no_grad(), gathered(policy):
            yield
    finally:
        for module, mode in training.items():
            module.training = mode
        # Weights cast under no_grad stay in autocast's cache and would give the update no gradient.
        torch.clear_autocast_cache()
