"""What the answers of an evaluation depend on, as a digest: two evaluations that share it give the same answers."""

import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mapo import __version__
from mapo.data.loader import fingerprint
from mapo.functional.fingerprint import weights_fingerprint
from mapo.modules.hyperparameters import describe
from mapo.rewards.function import FunctionReward
from mapo.types import Prompt


def answer_digest(
    *,
    weights: Mapping[str, Tensor],
    components: Mapping[str, Any],
    settings: Mapping[str, Any],
    sets: Mapping[str, Sequence[Prompt]],
) -> str:
    """Return a digest of an evaluation.

    Args:
        weights: Of the policy, as they are now.
        components: Recipes by name, such as the policy, the engine and the rewards; the source of the files that define
            them counts, too.
        settings: Further plain values.
        sets: Rows by name of the set.

    Raises:
        NotDescribableError: A component cannot be described.
    """
    parts = {
        "version": __version__,
        "weights": weights_fingerprint(weights),
        "components": {name: describe(value) for name, value in components.items()},
        "sources": {name: _sources(value) for name, value in components.items()},
        "settings": settings,
        "sets": [[name, fingerprint(rows)] for name, rows in sets.items()],
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def _sources(component: Any) -> list[str]:
    """Return a digest of each file that says what the component does."""
    if isinstance(component, list | tuple):
        return [digest for item in component for digest in _sources(item)]
    modules = [inspect.getmodule(type(component))]
    if isinstance(component, FunctionReward):
        modules.append(importlib.import_module(component.function.rpartition(".")[0]))
    files = [Path(file) for module in modules if (file := getattr(module, "__file__", None))]
    return [hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest() for file in files if file.is_file()]
