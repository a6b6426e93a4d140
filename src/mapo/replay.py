"""``mapo replay``: run the rows of a skipped step again, one by one, and say where numbers stop being finite."""

import argparse
import contextlib
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn
from typing_extensions import override

from mapo.callbacks.text_table import text_table
from mapo.functional.visible import one_line
from mapo.modules.numeric_faults import Fault
from mapo.modules.stored_policy import read_policy
from mapo.policies.model import PolicyModel
from mapo.refusal import refuse

_DESCRIPTION = """Run the completions of a skipped optimizer step again, one by one, with the weights of a checkpoint:
which have log-probs or gradients that are not finite, and in which module that begins. The file is what `fit` wrote to
faults/ in the run's folder; the checkpoint should be the last one before that phase."""

# Only A · Σ log-probs is run again, in the checkpoint's own precision.
_NOT_SEEN = (
    "What was not finite may have come from the reference, the ratio to older log-probs, the loss, the precision of "
    "the run, or from weights that are not those of this checkpoint.\n"
)


class Verdict(NamedTuple):
    """What became of one row.

    Attributes:
        sample_id: Of its prompt.
        num_tokens: Of its completion.
        advantage: As it was trained on.
        least_logprob: The smallest log-prob of its tokens, in nats; NaN where one is NaN.
        gradient_norm: Of A · Σ log-probs.
        culprit: The first module whose output was not finite; None where all were.
    """

    sample_id: str
    num_tokens: int
    advantage: float
    least_logprob: float
    gradient_norm: float
    culprit: str | None


def replay(actor: PolicyModel, fault: Fault) -> list[Verdict]:
    """Run every row of a fault by itself, forwards and backwards; no weight changes."""
    return [_run(actor, fault, place) for place in range(len(fault.rows))]


def run(arguments: Sequence[str]) -> None:
    """Run ``mapo replay``; a wrong argument ends in one line and exit code 2."""
    given = _parser().parse_args(arguments)
    fault = Fault.read(Path(given.fault))
    verdicts = replay(read_policy(given.ckpt_path).load(), fault)
    sys.stdout.write(report(fault, verdicts))


def report(fault: Fault, verdicts: Sequence[Verdict]) -> str:
    """Return what the rows came to, as a table and a sentence."""
    head = ["row", "sample", "tokens", "advantage", "least log-prob", "gradient norm", "not finite from"]
    lines = [
        [str(place), one_line(v.sample_id), str(v.num_tokens), *(f"{x:.4g}" for x in v[2:5]), v.culprit or "-"]
        for place, v in enumerate(verdicts)
    ]
    bad = sum(not _is_finite(verdict) for verdict in verdicts)
    of = f"{len(verdicts)} completions of phase {fault.phase} (rank {fault.rank})"
    words = f"{text_table(head, lines, keys=2)}\n{bad} of {of} give numbers that are not finite.\n"
    return words if bad else words + _NOT_SEEN


def _is_finite(verdict: Verdict) -> bool:
    numbers = (verdict.advantage, verdict.least_logprob, verdict.gradient_norm)
    return verdict.culprit is None and all(map(math.isfinite, numbers))


def _run(actor: PolicyModel, fault: Fault, place: int) -> Verdict:
    rows = fault.rows
    prompt, token_ids, advantage = rows.prompts[place], rows.token_ids[place], rows.advantages[place]
    with _first_not_finite(actor.model) as found:
        logprobs = actor.score([prompt], [token_ids], temperature=fault.temperature).logprobs
    weights = actor.trainable_parameters()
    gradients = torch.autograd.grad((advantage.to(logprobs) * logprobs).sum(), weights, allow_unused=True)
    norm = torch.stack([gradient.float().norm() for gradient in gradients if gradient is not None]).norm()
    least = float(logprobs.detach().min()) if logprobs.numel() else 0.0
    return Verdict(
        prompt.prompt.sample_id, len(token_ids), float(advantage), least, float(norm), found[0] if found else None
    )


@contextlib.contextmanager
def _first_not_finite(model: nn.Module) -> Iterator[list[str]]:
    """Within this context the names of modules whose output is not finite are collected, in the order they ran."""
    found: list[str] = []

    def look(name: str, output: Any) -> None:
        tensors = output if isinstance(output, tuple | list) else (output,)
        if any(isinstance(one, Tensor) and one.is_floating_point() and not one.isfinite().all() for one in tensors):
            found.append(name)

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


class _Parser(argparse.ArgumentParser):
    @override
    def error(self, message: str) -> NoReturn:
        refuse(f"{message} (`mapo replay --help` shows all options)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mapo replay", description=_DESCRIPTION)
    parser.add_argument("fault", help="file that fit wrote, faults/phase_<n>_step_<n>_rank_<n>.pt")
    parser.add_argument("--ckpt_path", required=True, help="checkpoint whose weights are used")
    return parser
