"""The README of an exported model: what it is, how to load it, how well it did, how it was trained."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_MODES = {"sampled": "", "greedy": "_greedy"}  # how sets are answered, and how the names of the figures end
_PRIVATE = ("_class_path", "_instantiator")  # of hyperparameters: how Lightning finds its way back


@dataclass(frozen=True)
class ModelCard:
    """What a card is written from.

    Attributes:
        base: Path or Hub name of the model that was trained.
        adapters: Whether the folder holds adapters alone.
        reads_images: Whether the model does.
        phase: Training steps behind the weights.
        hyperparameters: Arguments of the module that trained it.
        run_folder: Where ``results.json`` and ``config.yaml`` of the run are; None where there are none.
    """

    base: str
    adapters: bool
    reads_images: bool
    phase: int
    hyperparameters: Mapping[str, Any]
    run_folder: Path | None = None

    def write(self, folder: Path, *, name: str) -> None:
        """Write README.md into a folder, of a model that is to have this name."""
        parts = [self._front(), self._title(name), self._use(name), self._figures(), self._training()]
        (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")

    def _front(self) -> str:
        on_hub = not Path(self.base).expanduser().exists() and self.base != "builtin"
        fields: dict[str, Any] = {"base_model": self.base} if on_hub else {}
        fields["library_name"] = "peft" if self.adapters else "transformers"
        fields["pipeline_tag"] = "image-text-to-text" if self.reads_images else "text-generation"
        fields["tags"] = ["mapo", "reinforcement-learning"]
        return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---"

    def _title(self, name: str) -> str:
        what = "Adapters (LoRA) for" if self.adapters else "Made from"
        return (
            f"# {name}\n\n{what} `{self.base}`, after {self.phase} training step"
            f"{'' if self.phase == 1 else 's'} with [MAPO](https://arxiv.org/abs/2509.18849)'s package `mapo`."
        )

    def _use(self, name: str) -> str:
        auto = "AutoModelForImageTextToText" if self.reads_images else "AutoModelForCausalLM"
        speaker = "AutoProcessor" if self.reads_images else "AutoTokenizer"
        lines = [f"from transformers import {auto}, {speaker}", ""]
        if self.adapters:
            base = f'"{self.base}"'
            lines[:0] = ["from peft import PeftModel"]
            if self.base == "builtin":
                base, lines[:0] = "builtin_path()", ["from mapo.policies.builtin import builtin_path"]
            lines += [f"base = {auto}.from_pretrained({base})"]
            lines += [f'model = PeftModel.from_pretrained(base, "{name}")']
        else:
            lines += [f'model = {auto}.from_pretrained("{name}")']
        lines += [f'{speaker.removeprefix("Auto").lower()} = {speaker}.from_pretrained("{name}")']
        return "## Use\n\n```python\n" + "\n".join(lines) + "\n```"

    def _figures(self) -> str:
        results = {} if self.run_folder is None else _read_json(self.run_folder / "results.json")
        rows = [row for name, figures in results.get("sets", {}).items() for row in _rows(name, figures)]
        if not rows:
            return "## Validation\n\nNo figures of a validation were found beside the checkpoint."
        phases = {row.pop() for row in rows}
        head = ["set", "answers", "before", "after", "95 % interval of after", "questions"]
        table = "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
        lines = [f"## Validation\n\nAccuracies of the run's `results.json`.\n\n{table}"]
        if phases != {str(self.phase)}:
            lines.append(
                f"**The column `after` is not of these weights**: it was measured after step "
                f"{', '.join(sorted(phases))}, they are those after step {self.phase}."
            )
        return "\n\n".join([*lines, *filter(None, [results.get("rule")])])

    def _training(self) -> str:
        file = None if self.run_folder is None else self.run_folder / "config.yaml"
        if file is not None and file.is_file():
            text = file.read_text(encoding="utf-8").strip()
        else:
            plain = {name: value for name, value in self.hyperparameters.items() if name not in _PRIVATE}
            text = yaml.safe_dump({"model": plain}, sort_keys=False, allow_unicode=True).strip()
        versions = {} if self.run_folder is None else _read_json(self.run_folder / "results.json").get("versions", {})
        told = "".join(f"{name} {version}, " for name, version in versions.items()).removesuffix(", ")
        made_with = f"\n\nTrained with {told}." if told else ""
        return f"## Training\n\nThe configuration of the run:\n\n```yaml\n{text}\n```{made_with}"


def _rows(name: str, figures: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield the cells of a set for every way in which it was answered, and when it was, last."""
    for mode, suffix in _MODES.items():
        accuracy = figures.get(f"accuracy{suffix}")
        if accuracy is None:
            continue
        low, high = (figures.get(f"accuracy_{end}{suffix}", {}).get("after") for end in ("low", "high"))
        interval = "-" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"
        rows = figures.get(f"num_samples_evaluated{suffix}", {}).get("after")
        shares = [_percent(accuracy[when]) for when in ("before", "after")]
        questions = "-" if rows is None else f"{rows:.0f}"
        yield [name, mode, *shares, interval, questions, str(accuracy["after_phase"])]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _read_json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
