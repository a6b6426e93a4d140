"""How prompts reach the ranks: in global phases for training, row by row for evaluation."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

from mapo.types import Prompt

_CONTENT = frozenset({"rows", "fingerprint"})  # what other rows change; the other keys are arguments


class PhaseLoader:
    """Yields this rank's prompts of every global phase of an epoch, and remembers where it stands.

    Rank r of W takes prompts r, r+W, ... of the phase, so a phase is the same set of prompts on any number of ranks.
    The order is a permutation drawn from (seed, epoch); the rows of the last incomplete phase sit out for that epoch.
    Lightning stores ``state_dict`` with its checkpoints. It is no ``DataLoader``, so Lightning injects no sampler into
    it, with or without ``use_distributed_sampler``.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        shuffle: bool = True,
        on_changed_rows: Literal["error", "continue"] = "error",
    ) -> None:
        """Lay out the phases.

        Args:
            prompts: The rows to train on; a row is read when its phase comes.
            batch_size: Prompts of one phase over all ranks.
            rank: This process among the data-parallel ones.
            world_size: Number of data-parallel processes.
            seed: Of the order, >= 0.
            shuffle: Keep the rows' own order in every epoch when False.
            on_changed_rows: What other rows than a checkpoint's do when it is resumed.

        Raises:
            ValueError: The rows do not fill one phase, or the phase does not divide over the ranks.

        Example:
            >>> rows = [Prompt(str(i), (), (), "", {}) for i in range(7)]
            >>> loader = PhaseLoader(rows, batch_size=4, rank=1, world_size=2, shuffle=False)
            >>> [[prompt.sample_id for prompt in phase] for phase in loader]
            [['1', '3']]
        """
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(
                f"batch_size ({batch_size} prompts per phase) must be a positive multiple of the number of ranks "
                f"({world_size}); choose {max(1, batch_size // world_size) * world_size}"
            )
        if len(prompts) < batch_size:
            raise ValueError(
                f"{len(prompts)} training rows do not fill one phase of batch_size={batch_size}; "
                f"choose batch_size <= {len(prompts)} or add rows"
            )
        self.prompts = prompts
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size
        self.seed, self.shuffle = seed, shuffle
        self.on_changed_rows = on_changed_rows
        self.epoch = self.position = 0
        self._fingerprint: str | None = None
        # Lightning calls set_epoch on `loader.batch_sampler.sampler`; an attribute `sampler` of our own would make
        # `overfit_batches` warn that it turns shuffling off, which PromptDataModule has already done.
        self.batch_sampler = SimpleNamespace(sampler=self)

    def __len__(self) -> int:
        """Return the number of complete phases of an epoch."""
        return len(self.prompts) // self.batch_size

    def __iter__(self) -> Iterator[list[Prompt]]:
        """Yield from the current position to the end of the epoch; after the end the next epoch begins."""
        if self.position >= len(self):
            self.epoch, self.position = self.epoch + 1, 0
        order = self._order()
        while self.position < len(self):
            phase = order[self.position * self.batch_size :][: self.batch_size]
            rows = [self.prompts[i] for i in phase[self.rank :: self.world_size]]
            self.position += 1  # only now: a row that cannot be read has not been drawn
            yield rows

    def set_epoch(self, epoch: int) -> None:
        """Begin ``epoch`` at its first phase, unless the loader stands in it already."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands and what it loads, in plain values; the same on every rank."""
        return {"epoch": self.epoch, "position": self.position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the last phase of ``state``; the number of ranks may differ.

        With other rows, where ``on_changed_rows`` allows them, the epoch goes on at the same place of its new order.

        Raises:
            ValueError: The rows, or what decides on their order, are not those of the checkpoint.
        """
        own = self._identity()
        changed = {key for key, value in own.items() if state.get(key) != value}
        if changed and (self.on_changed_rows == "error" or not changed <= _CONTENT):
            raise ValueError(_cannot_resume(own, state, changed))
        if changed:
            rank_zero_warn(
                f"the training rows are others than the checkpoint's ({len(self.prompts)} now, {state['rows']} then): "
                "in this epoch some may be drawn twice, others not at all"
            )
        self.epoch, self.position = state["epoch"], min(state["position"], len(self))

    def _identity(self) -> dict[str, Any]:
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.prompts)
        return {
            "rows": len(self.prompts),
            "fingerprint": self._fingerprint,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
        }

    def _order(self) -> list[int]:
        if not self.shuffle:
            return list(range(len(self.prompts)))
        return np.random.default_rng((self.seed, self.epoch)).permutation(len(self.prompts)).tolist()


class EvaluationLoader:
    """Yields every row exactly once over all ranks, in order.

    Every rank makes the same number of steps; where a batch has fewer rows than ranks, some ranks get an empty list.
    """

    def __init__(self, prompts: Sequence[Prompt], *, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        """Lay out the batches.

        Args:
            prompts: The rows of one set.
            batch_size: Prompts of one step over all ranks.
            rank: This process among the data-parallel ones.
            world_size: Number of data-parallel processes.

        Example:
            >>> rows = [Prompt(str(i), (), (), "", {}) for i in range(5)]
            >>> loader = EvaluationLoader(rows, batch_size=4, rank=1, world_size=2)
            >>> [[prompt.sample_id for prompt in batch] for batch in loader]
            [['1', '3'], []]
        """
        if batch_size < 1:
            raise ValueError(f"eval_batch_size must be >= 1, got {batch_size}")
        self.prompts = prompts
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        """Return the number of steps, the same on every rank."""
        return -(-len(self.prompts) // self.batch_size)

    def __iter__(self) -> Iterator[list[Prompt]]:
        """Yield this rank's rows of every step."""
        for start in range(0, len(self.prompts), self.batch_size):
            stop = min(start + self.batch_size, len(self.prompts))
            yield [self.prompts[i] for i in range(start + self.rank, stop, self.world_size)]


def _cannot_resume(own: Mapping[str, Any], stored: Mapping[str, Any], changed: Set[str]) -> str:
    differences = [f"{key} is {own[key]!r}, was {stored.get(key)!r}" for key in own if key in changed]
    advice = "restore them" if changed <= _CONTENT else "restore these arguments"
    allowed = ", or go on with the new rows by data.on_changed_rows=continue" if changed <= _CONTENT else ""
    return (
        f"cannot resume: the training data has changed since the checkpoint was written ({'; '.join(differences)}). "
        f"Rows would be skipped or repeated; {advice}{allowed}, or start a new run"
    )


def fingerprint(prompts: Sequence[Prompt]) -> str:
    """Return a digest of the rows: ids, messages, answers, and what identifies their pictures without decoding them."""
    digest = hashlib.blake2b(digest_size=8)
    for prompt in prompts:
        row = [prompt.sample_id, prompt.messages, prompt.answer, [_image_identity(image) for image in prompt.images]]
        digest.update(json.dumps(row, default=str).encode())
    return digest.hexdigest()


def _image_identity(image: Any) -> str:
    if isinstance(image, dict) and image.get("bytes"):
        return hashlib.blake2b(image["bytes"], digest_size=8).hexdigest()
    if isinstance(image, dict):
        image = image.get("path")
    # The name of a file and not its path, so that a run may move; a picture in memory is known by its size.
    return Path(image).name if isinstance(image, str | Path) else str(getattr(image, "size", None))
