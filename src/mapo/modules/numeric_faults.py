"""What stood in an optimizer step whose gradient was not finite, kept so that it can be run again."""

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from mapo.modules.checkpoint_files import damage, read_state
from mapo.modules.checkpoint_io import reason
from mapo.modules.experience import Experience
from mapo.policies.model import PolicyModel
from mapo.types import EncodedPrompt, Prompt

_MOST_NAMED = 5


@dataclass(frozen=True)
class Fault:
    """The rows of one rank's optimizer step, and where they came from.

    Attributes:
        phase: Rollout phases finished before it.
        step: Its number among all optimizer steps, from 0.
        rank: Whose rows they are.
        temperature: Of the rollouts.
        rows: As they were trained on.
        suspects: Places of the rows with log-probs (of the policy, as it is, was, or of its reference) or an advantage
            that are not finite; none where only the gradient was not.
    """

    phase: int
    step: int
    rank: int
    temperature: float
    rows: Experience
    suspects: tuple[int, ...]

    @property
    def sample_ids(self) -> list[str]:
        """Samples of the suspects, or of all rows where there is no suspect; each once."""
        places = self.suspects or range(len(self.rows))
        return list(dict.fromkeys(self.rows.prompts[place].prompt.sample_id for place in places))

    def write(self, folder: Path) -> Path:
        """Write it as tensors and plain values, and return the file."""
        path = folder / f"phase_{self.phase}_step_{self.step}_rank_{self.rank}.pt"
        prompts = list({id(prompt): prompt for prompt in self.rows.prompts}.values())
        places = {id(prompt): place for place, prompt in enumerate(prompts)}
        content = {
            **{name: getattr(self, name) for name in ("phase", "step", "rank", "temperature")},
            "suspects": list(self.suspects),
            "prompts": [_plain(prompt) for prompt in prompts],
            "prompt_of_row": [places[id(prompt)] for prompt in self.rows.prompts],
            "token_ids": list(self.rows.token_ids),
            "advantages": self.rows.advantages.cpu(),
            "trained": self.rows.trained.cpu(),
            "success_bins": self.rows.success_bins.cpu(),
            "sampling_logprobs": [logprobs.cpu() for logprobs in self.rows.sampling_logprobs],
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(content, path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer reports a full disk as either
            with contextlib.suppress(OSError):  # half of one must not pass for a whole one
                path.unlink(missing_ok=True)
            raise ValueError(
                f"{path} cannot be written: {reason(error)}; make room or choose another folder, then continue with "
                "--ckpt_path last"
            ) from error
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote; the pictures of its prompts are there as the policy's features alone.

        Raises:
            ValueError: It is another file, or a damaged one.
        """
        if (fault := damage(path)) is not None:
            raise ValueError(f"{path} is no file that fit wrote to faults/, or is damaged: {fault}")
        content = read_state(path)
        if "prompt_of_row" not in content:
            raise ValueError(
                f"{path} is no file that fit wrote to faults/; a run's folder has them where it skipped steps"
            )
        prompts = [_encoded(stored) for stored in content["prompts"]]
        rows = Experience(
            prompts=tuple(prompts[place] for place in content["prompt_of_row"]),
            token_ids=tuple(content["token_ids"]),
            advantages=content["advantages"],
            trained=content["trained"],
            success_bins=content["success_bins"],
            sampling_logprobs=tuple(content["sampling_logprobs"]),
        )
        known = {name: content[name] for name in ("phase", "step", "rank", "temperature")}
        return cls(rows=rows, suspects=tuple(content["suspects"]), **known)


def keep_fault(module: Any, step: Sequence[Experience], temperature: float) -> str:
    """Write what stood in a step that was skipped, and say so; every rank must call it.

    Args:
        module: A ``MAPOModule`` in training.
        step: This rank's micro-batches.
        temperature: Of the rollouts.

    Returns:
        How to look at it, to be added to an error; empty where this rank has written nothing.
    """
    suspects = find_suspects(module.actor, step, temperature)
    somewhere = bool(module.sum_over_ranks(torch.tensor(len(suspects))))
    trainer = module.trainer
    folder = Path(trainer.log_dir or trainer.default_root_dir) / "faults"  # every rank must ask
    if somewhere and not suspects:
        return ""  # it is another rank's
    position = {"phase": module.phase_index, "step": module.global_step - 1, "rank": module.global_rank}
    fault = Fault(**position, temperature=temperature, rows=Experience.joined(step), suspects=tuple(suspects))
    what = "log-probs or advantages" if suspects else "the gradient alone"
    if trainer.fast_dev_run:  # leaves no files behind
        where = ""
    else:
        where = f"; `mapo replay {fault.write(folder)} --ckpt_path <the last checkpoint>` runs it again"
    warnings.warn(
        f"phase {fault.phase}: optimizer step {fault.step} is skipped, since {what} of {_listed(fault.sample_ids)} are "
        f"not finite{where}",
        stacklevel=2,
    )
    return where


@torch.no_grad()
def find_suspects(actor: PolicyModel, parts: Sequence[Experience], temperature: float) -> list[int]:
    """Return the rows, counted through all micro-batches, whose log-probs or advantages are not finite.

    Args:
        actor: Every rank must call it with as many micro-batches.
        parts: The micro-batches of a step.
        temperature: Of the rollouts.
    """
    found: list[int] = []
    start = 0
    for rows in parts:
        logprobs = actor.score(rows.prompts, rows.token_ids, temperature=temperature).logprobs.cpu()
        finite = logprobs.isfinite().all(dim=1) & rows.advantages.cpu().isfinite()
        for others in (rows.old_logprobs, rows.ref_logprobs):
            if others is not None:
                finite &= others.cpu().isfinite().all(dim=1)
        found += (~finite).nonzero()[:, 0].add(start).tolist()
        start += len(rows)
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} other samples" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(repr, names[:_MOST_NAMED])) + more


def _plain(prompt: EncodedPrompt) -> dict[str, Any]:
    return {
        "sample_id": prompt.prompt.sample_id,
        "input_ids": prompt.input_ids,
        "features": dict(prompt.features),
        "prefill": prompt.prefill,
    }


def _encoded(stored: dict[str, Any]) -> EncodedPrompt:
    raw = Prompt(stored["sample_id"], (), (), "", {})
    return EncodedPrompt(raw, stored["input_ids"], stored["features"], stored["prefill"])
