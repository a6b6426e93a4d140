"""Endless text tasks drawn by the library reasoning-gym."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typing_extensions import override

from mapo.data.base import PromptDataModule
from mapo.data.rows import RowError
from mapo.data.source import text
from mapo.types import Prompt

_HELD_OUT_SHARE = 4  # one question in four may be evaluated on, and is never trained on
_MAX_MISSES = 2000
_ANY_ANSWER = "any that the task accepts"


class ReasoningGym(PromptDataModule):
    """Tasks of reasoning-gym (https://arxiv.org/abs/2505.24760), Apache-2.0: about 100 kinds with a verifier each.

    Needs the extra ``mapo[reasoning-gym]``. A question is drawn from its task, its configuration and a seed:
    ``{"question": "State the final answer to the following arithmetic problem: 64 - 2 =", "answer": "62", "metadata":
    {"source_dataset": "chain_sum", ...}}``. Which side it is on, training or evaluation, follows from its text alone,
    so that the two are disjoint under any seeds and sizes.

    ``mapo.rewards.reasoning_gym_score.ReasoningGymScore`` asks the task's own verifier, for which the metadata hold
    ``task``, ``config`` and the whole ``entry``; some tasks have many right answers and state none. The task is the
    category of a row.
    """

    def __init__(
        self,
        tasks: Sequence[str] | Mapping[str, Mapping[str, Any]],
        *,
        num_train: int = 1000,
        num_eval: int = 100,
        set_per_task: bool = False,
        problem_seed: int = 0,
        **settings: Any,
    ) -> None:
        """Choose the tasks; questions are drawn in ``setup``.

        Args:
            tasks: Names, such as "chain_sum"; or, by name, ``{"weight": 2.0, "config": {"min_terms": 3}}`` with either
                left out: the task's share of the questions relative to the others (1), and its own settings.
            num_train: Questions to train on, all different.
            num_eval: Questions of each evaluation set, all different.
            set_per_task: Evaluate each task in a set of its own, ``reasoning_gym_<task>``; otherwise all in one,
                ``reasoning_gym``.
            problem_seed: Another seed draws other training questions; the evaluation sets stay.
            **settings: As ``PromptDataModule``.

        Raises:
            ValueError: There is no task, a number is below 1, or a task has a setting that it cannot have.
        """
        super().__init__(**settings)
        for name, number in (("num_train", num_train), ("num_eval", num_eval)):
            if number < 1:
                raise ValueError(f"{name} must be >= 1, got {number}")
        self.tasks = dict(tasks) if isinstance(tasks, Mapping) else {task: {} for task in tasks}
        _check(self.tasks)
        self.num_train = num_train
        self.num_eval = num_eval
        self.set_per_task = set_per_task
        self.problem_seed = problem_seed

    @override
    def train_prompts(self) -> Sequence[Prompt]:
        return self._draw("train", list(self.tasks), self.num_train, self.problem_seed)

    @override
    def eval_prompts(self) -> Mapping[str, Sequence[Prompt]]:
        sets = {f"reasoning_gym_{task}": [task] for task in self.tasks}
        sets = sets if self.set_per_task else {"reasoning_gym": list(self.tasks)}
        return {name: self._draw("eval", tasks, self.num_eval, 0) for name, tasks in sets.items()}

    def _draw(self, split: str, tasks: Sequence[str], total: int, seed: int) -> list[Prompt]:
        """Return questions of some tasks by weight, the tasks taking turns."""
        weights = {task: float(self.tasks[task].get("weight", 1.0)) for task in tasks}
        turns: list[tuple[float, str, Prompt]] = []
        for task, count in shares(weights, total).items():
            entries = draw_entries(task, self.tasks[task].get("config") or {}, count, split=split, seed=seed)
            turns += [
                ((i + 0.5) / count, task, self._prompt(f"{task}/{split}/{seed}/{i}", task, entry))
                for i, entry in enumerate(entries)
            ]
        return [prompt for _, _, prompt in sorted(turns, key=lambda turn: turn[:2])]

    def _prompt(self, sample_id: str, task: str, entry: Mapping[str, Any]) -> Prompt:
        if not text(entry["question"]).strip():
            raise RowError(sample_id, "reasoning-gym drew an empty question")
        return self.prompt(
            sample_id,
            entry["question"],
            text(entry["answer"]) or _ANY_ANSWER,
            task=task,
            config=dict(self.tasks[task].get("config") or {}),
            entry=entry,
            categories={"task": task},
        )


def shares(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Divide a number over names by weight, so that the parts sum to it; the largest remainders are rounded up.

    Example:
        >>> shares({"a": 2.0, "b": 1.0, "c": 1.0}, 10)
        {'a': 5, 'b': 3, 'c': 2}
    """
    exact = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    parts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(weights, key=lambda name: parts[name] - exact[name])
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def draw_entries(task: str, config: Mapping[str, Any], num: int, *, split: str, seed: int) -> list[dict[str, Any]]:
    """Draw entries of one task, all different, the same ones for the same arguments.

    Args:
        task: Its name in reasoning-gym.
        config: Its settings.
        num: Number of entries.
        split: "train" or "eval"; what one can draw, the other never does.
        seed: Of the questions.

    Raises:
        ValueError: reasoning-gym is missing or refuses the task, or the task has fewer different questions.
    """
    kept: dict[int, dict[str, Any]] = {}
    misses = 0
    for entry in _stream(task, config, chunk=max(100, num), origin=f"{task}/{split}/{seed}"):
        if len(kept) == num or misses == _MAX_MISSES:
            break
        key = _content_hash(text(entry["question"]))
        wanted = (key % _HELD_OUT_SHARE == 0) == (split == "eval") and key not in kept
        misses = 0 if wanted else misses + 1
        if wanted:
            kept[key] = entry
    if len(kept) < num:
        raise ValueError(
            f"reasoning-gym's task {task!r} has only {len(kept)} different questions to draw for {split}, not {num}; "
            "ask for fewer, or widen its config"
        )
    return list(kept.values())


def _stream(task: str, config: Mapping[str, Any], *, chunk: int, origin: str) -> Iterator[dict[str, Any]]:
    create = _library()
    for number in range(_MAX_MISSES):
        # Neighbouring seeds of reasoning-gym draw the same questions one place apart.
        seed = _content_hash(f"{origin}/{number}") % 2**32
        try:
            dataset = create(task, **config, seed=seed, size=chunk)
        except (AssertionError, TypeError, ValueError) as error:  # what its checks of names and settings raise
            raise ValueError(f"reasoning-gym refuses the task {task!r} with config {dict(config)}: {error}") from error
        for index in range(chunk):
            yield dataset[index]


def _library() -> Any:
    try:
        from reasoning_gym import create_dataset
    except ImportError as error:
        raise ValueError(f"ReasoningGym needs reasoning-gym ({error}): pip install 'mapo[reasoning-gym]'") from error
    return create_dataset


def _check(tasks: Mapping[str, Mapping[str, Any]]) -> None:
    if not tasks:
        raise ValueError("tasks is empty: name at least one task of reasoning-gym, such as 'chain_sum'")
    for task, settings in tasks.items():
        unknown = set(settings) - {"weight", "config"}
        if unknown:
            raise ValueError(
                f"task {task!r} has {', '.join(sorted(unknown))}; it may have weight, and config with its settings"
            )
        if not float(settings.get("weight", 1.0)) > 0:
            raise ValueError(f"weight of task {task!r} must be > 0, got {settings['weight']}")
        if taken := {"seed", "size"} & set(settings.get("config") or {}):
            raise ValueError(
                f"config of task {task!r} sets {', '.join(sorted(taken))}; use problem_seed, num_train and num_eval"
            )


def _content_hash(content: str) -> int:
    return int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "big")
