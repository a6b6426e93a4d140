"""Where the arguments of a run were written: on the command line, or in a line of a configuration file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Place:
    """Where an argument was written.

    Attributes:
        where: For people: the option, or the file and the line.
        path: The argument's name with dots, such as ``model.advantage.eps``.
        value: As written, if it is no list or mapping.
        owner: Import path or name of the class whose argument it would be, if it is one's.
    """

    where: str
    path: str
    value: str | None
    owner: str | None


def written(arguments: Sequence[str]) -> Iterator[Place]:
    """Yield every place of the configuration files, then of the command line, which wins."""
    named: dict[str, str] = {}
    for file in _files(arguments):
        try:
            root = yaml.compose(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        for place in _walk(root, file, "", None):
            if place.path.endswith(".class_path") and place.value:
                named[place.path.removesuffix(".class_path")] = place.value
            yield place
    for argument, following in zip_longest(arguments, arguments[1:]):
        if not argument.startswith("--"):
            continue
        path, equals, value = argument[2:].partition("=")
        path, value = path.removesuffix("+"), value if equals else (following or "")
        named[path.removesuffix(".class_path")] = value
        yield Place(argument.partition("=")[0], path, value, named.get(path.rpartition(".")[0]))


def _files(arguments: Sequence[str]) -> Iterator[Path]:
    for argument, following in zip_longest(arguments, arguments[1:]):
        if argument in ("--config", "-c") and following:
            yield Path(following)
        elif argument.startswith("--config="):
            yield Path(argument.partition("=")[2])


def broken_files(arguments: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with every configuration file that is no YAML, or holds no arguments."""
    for file in _files(arguments):
        try:
            root = yaml.compose(file.read_text(encoding="utf-8"))
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else "?"
            yield f"{file}, line {line} is no YAML: {error.problem}"
        except (OSError, ValueError) as error:
            yield f"{file} cannot be read: {error}"
        else:
            if not isinstance(root, yaml.MappingNode):
                yield f"{file} holds no arguments; expected lines such as `model: {{group_size: 8}}`"


def _walk(node: Any, file: Path, prefix: str, owner: str | None) -> Iterator[Place]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _walk(item, file, prefix, owner)
    if not isinstance(node, yaml.MappingNode):
        return
    here = {key.value: value.value for key, value in node.value if isinstance(value, yaml.ScalarNode)}
    for key, value in node.value:
        if key.value == "init_args" and "class_path" in here:
            yield from _walk(value, file, prefix, here["class_path"])
            continue
        path = f"{prefix}.{key.value}" if prefix else str(key.value)
        where = f"{path} in {file}, line {key.start_mark.line + 1}"
        yield Place(where, path, here.get(key.value), owner)
        yield from _walk(value, file, path, None)
