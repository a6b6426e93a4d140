"""The numbers of one phase that go to the logs."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from mapo.functional.certainty import certainty, success_rate
from mapo.losses.sampler_correction import effective_share
from mapo.modules.dynamic_sampling import TELLING
from mapo.modules.experience import Experience
from mapo.modules.means import Means
from mapo.modules.objective import Objective
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


def add_wave_statistics(means: Means, told: Int[Tensor, "B W"], *, wanted: int, max_waves: int) -> None:
    """Add what dynamic sampling took and found.

    Args:
        means: Of the phase.
        told: Outcomes of the sampled groups of all ranks.
        wanted: Groups to train on, as many as a wave has.
        max_waves: Waves that the loader has prompts for.
    """
    waves = told.numel() // wanted
    means.add("sampled_waves", torch.tensor(waves))
    means.add("found_group_share", torch.arange(wanted) < (told == TELLING).sum())
    means.add("unused_prompt_share", torch.arange(max_waves) >= waves)


def add_pass_statistics(means: Means, steps: Sequence[Sequence[Experience]], objective: Objective) -> None:
    """Add how the optimizer steps of a phase are run, and which of their passes are not needed.

    Args:
        means: Of the phase.
        steps: The micro-batches of every optimizer step.
        objective: What they are for.
    """
    means.add("micro_batches", torch.tensor([len(step) for step in steps]))
    means.add("skipped_old_pass_share", torch.tensor([step[0].old_logprobs is None for step in steps]))
    means.add("skipped_reference_pass_share", torch.tensor([objective.kl_coef == 0 for _ in steps]))


def with_effective_share(values: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers with the effective share of weighted tokens in place of the mean square of their weights.

    Example:
        >>> with_effective_share({"sampler_weight": 0.5, "sampler_weight_square": 0.5})
        {'sampler_weight': 0.5, 'sampler_effective_share': 0.5}
    """
    shown = dict(values)
    for name in [name for name in values if name.endswith("sampler_weight_square")]:
        weight = name.removesuffix("_square")
        share = weight.removesuffix("weight") + "effective_share"
        shown[share] = effective_share(values[weight], shown.pop(name))
    return shown
