"""What a model folder holds beside weights and configuration: tokenizer, processor, chat template, generation."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mapo.policies.renderer import Renderer

# Copied as they are, because a processor that was loaded without its video part would save itself under another name,
# and AutoProcessor takes a folder with a name that it does not know for a tokenizer's.
_COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
)
_BOUNDS = {"shortest_edge": "min_pixels", "longest_edge": "max_pixels"}


def save_companions(renderer: Renderer, folder: Path, *, revision: str | None = None) -> None:
    """Save the companions of the model that a renderer was loaded from, as the renderer has them now.

    They are copies of that model's files, but for what the policy changed: its chat template, the bounds of its images,
    and the list of tokens that end a completion, which is made complete.

    Args:
        renderer: Of the policy.
        folder: Exists.
        revision: Commit on the Hub that the model was loaded from.
    """
    from transformers.utils import cached_file

    source = str(renderer.tokenizer.name_or_path)
    for name in _COMPANIONS:
        found = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
        if found is not None and Path(found).resolve() != (folder / name).resolve():
            shutil.copyfile(found, folder / name)
    _complete_generation(folder / "generation_config.json", renderer)
    _write_template(renderer.chat_template, folder)
    if renderer.processor is not None:
        _write_bounds(dict(renderer.processor.image_processor.size), folder)


def _complete_generation(file: Path, renderer: Renderer) -> None:
    """Write all tokens that end a completion: with only one of them in the list, an answer may never end."""
    stored = _read(file)
    listed = stored.get("eos_token_id", [])
    listed = listed if isinstance(listed, list) else [listed]
    ends = [*listed, *(token for token in renderer.eos_ids if token not in listed)]
    if ends != listed:
        _write(file, {"pad_token_id": renderer.pad_id} | stored | {"eos_token_id": ends})


def _write_template(template: Any, folder: Path) -> None:
    """Write the policy's chat template where every reader looks first, unless the folder has the same one."""
    file, older = folder / "chat_template.jinja", folder / "chat_template.json"
    kept = file.read_text(encoding="utf-8") if file.is_file() else _read(older).get("chat_template")
    kept = kept or _read(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(template, str) and template != kept:
        older.unlink(missing_ok=True)
        file.write_text(template, encoding="utf-8")


def _write_bounds(size: Mapping[str, Any], folder: Path) -> None:
    """Write the policy's bounds of an image's area, into the file that has them."""
    wanted = {edge: size.get(edge) for edge in _BOUNDS}
    for file in (folder / "preprocessor_config.json", folder / "processor_config.json"):
        settings = _read(file)
        section = settings.get("image_processor", settings)
        kept = {edge: (section.get("size") or {}).get(edge, section.get(older)) for edge, older in _BOUNDS.items()}
        if None in (*wanted.values(), *kept.values()) or kept == wanted:
            continue
        for older in _BOUNDS.values():
            section.pop(older, None)  # they would win
        section["size"] = wanted
        _write(file, settings)


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _write(file: Path, settings: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
