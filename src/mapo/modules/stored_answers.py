"""Evaluated prompts one by one, and each as a line of JSON that brings its record back to the bit."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mapo.modules.records import EvaluationRecord
from mapo.types import Completion, EncodedPrompt, Rollouts, Scores


def split_record(record: EvaluationRecord) -> list[EvaluationRecord]:
    """Return one record per prompt."""
    rollouts, scores = record.rollouts, record.scores
    parts = zip(rollouts.prompts, rollouts.completions, rollouts.sampling_logprobs, strict=True)
    return [
        _with(
            record,
            Rollouts((prompt,), (group,), (logprobs,), rollouts.temperature),
            _map_scores([scores], lambda tensors, row=row: tensors[0][row : row + 1]),
        )
        for row, (prompt, group, logprobs) in enumerate(parts)
    ]


def join_records(records: Sequence[EvaluationRecord]) -> EvaluationRecord:
    """Return the prompts of several records of one set and mode as one record, in this order."""
    rollouts = [record.rollouts for record in records]
    return _with(
        records[0],
        Rollouts(
            tuple(prompt for part in rollouts for prompt in part.prompts),
            tuple(group for part in rollouts for group in part.completions),
            tuple(group for part in rollouts for group in part.sampling_logprobs),
            rollouts[0].temperature,
        ),
        _map_scores([record.scores for record in records], torch.cat),
    )


def row_digest(encoded: EncodedPrompt) -> str:
    """Return a digest of what was asked and what is right: tokens, pixels, answer and metadata."""
    digest = hashlib.blake2b(digest_size=8)
    asked = [encoded.prompt.sample_id, encoded.prompt.answer, encoded.prompt.metadata, encoded.prefill]
    digest.update(json.dumps(asked, default=str).encode())
    for name, tensor in sorted({"input_ids": encoded.input_ids, **encoded.features}.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def to_line(record: EvaluationRecord) -> dict[str, Any]:
    """Return plain values for a record of one prompt; its question is kept as a digest alone."""
    (prompt,), (group,), (logprobs,) = (
        record.rollouts.prompts,
        record.rollouts.completions,
        record.rollouts.sampling_logprobs,
    )
    return {
        "set": record.set_name,
        "mode": record.mode,
        "sample_id": prompt.prompt.sample_id,
        "row": row_digest(prompt),
        "temperature": record.rollouts.temperature,
        "texts": [completion.text for completion in group],
        "truncated": [completion.truncated for completion in group],
        "token_ids": [_plain(completion.token_ids) for completion in group],
        "logprobs": [_plain(values) for values in logprobs],
        "scores": {name: _plain(value) for name, value in vars(record.scores).items() if name != "components"},
        "components": {name: _plain(value) for name, value in record.scores.components.items()},
    }


def from_line(line: Mapping[str, Any], stage: str, encoded: EncodedPrompt) -> EvaluationRecord:
    """Return the record that ``to_line`` was given.

    Args:
        line: Its plain values.
        stage: Of the record.
        encoded: The prompt, whose ``row_digest`` is that of the line.
    """
    answers = zip(line["texts"], line["token_ids"], line["truncated"], strict=True)
    group = tuple(
        Completion(encoded.prompt, encoded.prefill, text, _tensor(token_ids), truncated)
        for text, token_ids, truncated in answers
    )
    rollouts = Rollouts((encoded,), (group,), (tuple(map(_tensor, line["logprobs"])),), line["temperature"])
    scores = {name: _tensor(value) for name, value in line["scores"].items()}
    components = {name: _tensor(value) for name, value in line["components"].items()}
    return EvaluationRecord(stage, line["set"], line["mode"], rollouts, Scores(**scores, components=components))


def _with(record: EvaluationRecord, rollouts: Rollouts, scores: Scores) -> EvaluationRecord:
    return EvaluationRecord(record.stage, record.set_name, record.mode, rollouts, scores)


def _map_scores(all_scores: Sequence[Scores], function: Any) -> Scores:
    """Return scores whose every tensor is what the function makes of the list of theirs."""
    plain = {
        name: function([getattr(scores, name) for scores in all_scores])
        for name in vars(all_scores[0])
        if name != "components"
    }
    names = all_scores[0].components
    components = {name: function([scores.components[name] for scores in all_scores]) for name in names}
    return Scores(**plain, components=components)


def _plain(tensor: Tensor) -> dict[str, Any]:
    data = base64.b64encode(_bytes(tensor)).decode()
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "base64": data}


def _tensor(plain: Mapping[str, Any]) -> Tensor:
    dtype, data = getattr(torch, plain["dtype"]), bytearray(base64.b64decode(plain["base64"]))
    if not data:
        return torch.empty(plain["shape"], dtype=dtype)
    return torch.frombuffer(data, dtype=dtype).reshape(plain["shape"])


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
