"""The numbers of one phase that go to the logs."""

import torch

from mapo.functional.certainty import certainty, success_rate
from mapo.modules.means import Means
from mapo.modules.records import PhaseRecord


def add_phase_statistics(means: Means, record: PhaseRecord) -> None:
    """Add a phase's rewards, lengths and group statistics to its means.

    Statistics of rewards run over valid completions, those of groups over groups, lengths over all completions.
    """
    scores, completions = record.scores, [c for group in record.rollouts.completions for c in group]
    lengths = torch.tensor([len(completion.token_ids) for completion in completions], dtype=torch.float64)
    valid = scores.valid
    means.add("reward", scores.rewards, valid)
    for name, values in scores.components.items():
        means.add(f"reward/{name}", values, ~values.isnan())
    means.add("accuracy", scores.accuracy, valid)
    means.add("success_rate", scores.success, valid)
    means.add("valid_share", valid)
    means.add("truncated_share", torch.tensor([completion.truncated for completion in completions]))
    means.add("completion_length", lengths)
    means.add("completion_tokens", lengths.sum().reshape(1))
    means.add("certainty", certainty(success_rate(scores.success, valid=valid)))
    means.add("active_group_share", (record.advantages != 0).any(dim=1))
    means.add("advantage_magnitude", record.advantages.abs(), valid)
