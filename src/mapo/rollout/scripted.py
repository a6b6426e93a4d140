"""Rollouts that replay given completions: of another sampler, of a file, of a test."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from mapo.policies.model import PolicyModel
from mapo.policies.renderer import Renderer
from mapo.rollout.base import RolloutEngine
from mapo.rollout.mode import sampling_mode
from mapo.rollout.records import build_rollouts
from mapo.types import EncodedPrompt, Rollouts, Sampling


@dataclass(frozen=True)
class ScriptedEngine(RolloutEngine):
    """Replays completions by sample id, with the log-probs the policy gives them.

    A completion is a text, closed by the end-of-sequence token; ``{"text": ..., "truncated": true}``, which is not; or
    a list of token ids, taken as it is. A group is the first G completions of its sample.
    """

    completions: dict[str, list[Any]] | None = None
    """Completions by sample id."""
    path: str | None = None
    """Instead, a JSONL file with one {"sample_id": ..., "completions": [...]} per line."""

    def __post_init__(self) -> None:
        if (self.completions is None) == (self.path is None):
            raise ValueError("ScriptedEngine takes either completions or path, one of the two")
        if self.path is not None and not Path(self.path).is_file():
            raise ValueError(f"ScriptedEngine: path {self.path!r} is not a file; name a JSONL file of completions")

    @override
    def generate(
        self,
        policy: PolicyModel,
        prompts: Sequence[EncodedPrompt],
        *,
        group_size: int,
        sampling: Sampling,
        streams: Sequence[int],
    ) -> Rollouts:
        script = self.completions if self.completions is not None else dict(_read(Path(str(self.path))))
        temperature = sampling.temperature or 1.0
        token_ids: list[Tensor] = []
        logprobs: list[Tensor] = []
        with sampling_mode(policy):
            for prompt in prompts:
                group = _group(script, prompt, policy.renderer, group_size, sampling.max_completion_tokens)
                scores = policy.score([prompt] * group_size, group, temperature=temperature).logprobs.cpu()
                token_ids += group
                logprobs += [row[: len(ids)].clone() for row, ids in zip(scores, group, strict=True)]
        return build_rollouts(
            policy.renderer, prompts, token_ids, logprobs, group_size=group_size, temperature=temperature
        )


def _group(
    script: Mapping[str, Sequence[Any]], prompt: EncodedPrompt, renderer: Renderer, group_size: int, limit: int
) -> list[Int[Tensor, " T"]]:
    sample_id = prompt.prompt.sample_id
    given = script.get(sample_id, ())
    if len(given) < group_size:
        raise ValueError(
            f"sample {sample_id!r} has {len(given)} scripted completions, but group_size is {group_size}; "
            "add to the script"
        )
    group = [_token_ids(entry, renderer, sample_id) for entry in given[:group_size]]
    longest = max(len(ids) for ids in group)
    if longest > limit:
        raise ValueError(
            f"sample {sample_id!r} has a scripted completion of {longest} tokens, more than "
            f"max_completion_tokens={limit}; raise the limit or shorten it"
        )
    return group


def _token_ids(entry: Any, renderer: Renderer, sample_id: str) -> Int[Tensor, " T"]:
    if isinstance(entry, str):
        return renderer.encode_completion(entry)
    if isinstance(entry, Mapping) and "text" in entry:
        return renderer.encode_completion(entry["text"], end=not entry.get("truncated", False))
    if isinstance(entry, Sequence) and all(isinstance(token, int) for token in entry):
        return torch.tensor(list(entry), dtype=torch.int64)
    raise ValueError(
        f"sample {sample_id!r} has the scripted completion {entry!r}; expected a text, "
        "{'text': ..., 'truncated': ...} or a list of token ids"
    )


def _read(path: Path) -> Iterator[tuple[str, Sequence[Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield str(row["sample_id"]), row["completions"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path}:{number} is not {{"sample_id": ..., "completions": [...]}} ({error!r}); correct the line'
            ) from error
