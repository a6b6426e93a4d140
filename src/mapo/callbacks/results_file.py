"""What a run came to, as a JSON file."""

import contextlib
import json
import math
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = "results.json"
_PACKAGES = ("mapo", "torch", "lightning", "transformers")


def write_results(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write the results in one piece: a reader finds the old file or the new one, never half of one.

    Args:
        folder: Made if missing.
        results: Plain values with their ``stage``; figures that are not finite become null.

    Returns:
        The file: ``results.json``, but ``results_<stage>.json`` where an evaluation would replace the results of a fit.

    Raises:
        ValueError: It cannot be written; an earlier one is as it was.
    """
    path = folder / RESULTS
    if results["stage"] != "fit" and _stage_of(path) == "fit":
        path = folder / f"results_{results['stage']}.json"
    draft = path.with_name(path.name + ".tmp")
    text = json.dumps(_finite(results), indent=2, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)  # noqa: PTH105 - the name says that it is atomic
    except OSError as error:
        with contextlib.suppress(OSError):  # a folder that cannot be written to holds no draft
            draft.unlink(missing_ok=True)
        raise ValueError(f"{path} cannot be written: {error.strerror}; make room or choose another folder") from error
    return path


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that figures depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree
            continue
    return found


def _stage_of(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["stage"])
    except (OSError, ValueError, KeyError, TypeError):  # none there, or not one of ours
        return None


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
