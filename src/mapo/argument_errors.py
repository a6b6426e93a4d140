"""What a refused argument means: where it was written, what is expected there, and what was probably meant."""

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from mapo.argument_places import Place, broken_files, written

# How jsonargparse words its refusals; what is worded otherwise is passed on as it is. Refusals nest, outer key first.
_KEY = r"(?P<key>[\w.+-]+)"
_UNKNOWN = re.compile(
    rf"(?:does not accept option|Option) '{_KEY}'|^unrecognized arguments: -*{_KEY.replace('key', 'option')}"
)
_OUTER_KEY = re.compile(rf'^Parser key "{_KEY}": (?P<reason>.*)$')
_INNER_KEY = re.compile(rf'^.*Parser key "{_KEY}": (?P<reason>.*)$')
_NO_CLASS = re.compile(r"dot import path string: (?P<name>[\w.]+)")
_BAD_CLASS = re.compile(r"(?P<reason>Problem with given class_path '(?P<name>[\w.]+)': .*)$")
# The first value is the one that was written; it comes again for every way of reading it that failed.
_MANY_TYPES = re.compile(
    r"Subtypes: \[(?P<type>.*?)\] Errors: .*? Given value: (?P<value>.*?)(?: - (?:Expected a|Parser key|Does not) |$)"
)
_ONE_TYPE = re.compile(
    r".*Expected an? (?P<type>.+?)\. Got value: (?P<value>.*?)(?: - Expected a | Given value type|$)"
)
_REQUIRED = re.compile(r"^the following arguments are required: (?P<keys>.*)$")
_NEEDED = re.compile(r" the following arguments are required: (?P<keys>\w+(?:, \w+)*)")
# A component's own refusal, among reasons why its value is nothing else that would be possible.
_CONSTRUCTOR = re.compile(r"^Does not validate .*? Errors: - (?P<reason>.*?) - Expected a <class")
_WRAPPED = re.compile(r"NestedArg\(key='\w+', val=(?P<value>.*)\)$")


def explain(
    message: str,
    arguments: Sequence[str],
    options: Sequence[str],
    classes: Mapping[str, type] | None = None,
    *,
    complete: str = "configs/mapo_tiny.yaml",
) -> str:
    """Return one line about a refused argument.

    Args:
        message: What jsonargparse says.
        arguments: The command line, whose ``--config`` files are read again to find the place.
        options: Names of the options of the parser that refused, with dots.
        classes: Classes that YAML may call by their short names.
        complete: A file with all arguments that have to be given.

    Example:
        >>> options = ["config", "model.group_size"]
        >>> explain("unrecognized arguments: --model.group_sise 8", ["--model.group_sise", "8"], options)
        'unknown argument --model.group_sise; did you mean model.group_size?'
    """
    text, places, classes = " ".join(message.split()), list(written(arguments)), classes or {}
    outer = match["key"] if (match := _OUTER_KEY.search(text)) else ""
    if ("Problems parsing config" in text or text.startswith("Unexpected config")) and (
        broken := next(broken_files(arguments), None)
    ):
        return broken
    if match := _UNKNOWN.search(text):
        key = _join(outer, match["key"] or match["option"])
        return _unknown(key, _component(text, options, classes), places, options, classes)
    if match := _NEEDED.search(text):
        return _needed(outer, match["keys"].split(", "), text, classes)
    if match := _INNER_KEY.search(text):
        return _wrong_value(_join(outer, match["key"]), match["reason"], places, classes)
    if match := _REQUIRED.search(text):
        names = ", ".join("--" + key.partition(".")[2] for key in match["keys"].split(", "))
        return f"{names} missing; start from a file that has all, such as --config {complete}"
    if match := _CONSTRUCTOR.search(text):
        return match["reason"]
    return text


def _join(outer: str, key: str) -> str:
    path = key if key.startswith(outer) else f"{outer}.{key}"
    return path.replace(".init_args.", ".").removesuffix("+")


def _unknown(
    key: str, component: list[str], places: list[Place], options: Sequence[str], classes: Mapping[str, type]
) -> str:
    name = key.rpartition(".")[2]
    found = [place for place in _named(key, places) if name not in _arguments(place.owner, classes)]
    if not found:
        return f"unknown argument {key}{_meant(name, component) if component else _meant(key, options)}"
    place = found[-1]
    if re.search(r"\.\d+\.", place.path):
        return f"unknown argument {place.where}: a list can only be given as a whole, in YAML or as JSON"
    taken = _arguments(place.owner, classes) or component
    if not taken:
        return f"unknown argument {place.where}{_meant(place.path, options)}"
    owner = str(place.owner or "it").rpartition(".")[2]
    return f"unknown argument {place.where}; {owner} takes {', '.join(taken)}{_meant(name, taken)}"


def _needed(key: str, missing: Sequence[str], text: str, classes: Mapping[str, type]) -> str:
    """Say which component lacks arguments, and where to write them; it may be one inside another."""
    named = re.findall(r"class_path='([\w.]+)'", text)
    lacking = [owner for owner in named if set(missing) <= set(_required(owner, classes))]
    if not lacking:
        return f"--{key}: {', '.join(missing)} missing; write it in init_args"
    name = lacking[0].rpartition(".")[2]
    own = " and ".join(f"--{key}.{argument} ..." for argument in missing)
    place = own if lacking[0] == named[0] else "it in its init_args"
    return f"--{key}: {name} needs {', '.join(missing)}; give {place}"


def _wrong_value(key: str, reason: str, places: list[Place], classes: Mapping[str, type]) -> str:
    if key == "config":
        return f"--config: {reason}"
    value = None
    if match := _NO_CLASS.search(reason):
        value = match["name"]
        detail = f"there is no class {value!r}{_meant(value, list(classes))}"
    elif match := _BAD_CLASS.search(reason):
        value = match["name"]
        detail = f"{match['reason']}{_meant(value.rpartition('.')[2], list(classes))}"
    elif match := _MANY_TYPES.search(reason) or _ONE_TYPE.search(reason):
        wrapped = _WRAPPED.match(match["value"])
        value = (wrapped["value"] if wrapped else match["value"]).strip("'")
        offered = re.findall(r"'([^']+)'", match["type"]) if "Literal" in match["type"] else []
        meant = _meant(value.strip("[]'"), offered)
        detail = f"expected {_types(match['type'])}, got {value!r}{meant}"
    else:
        detail = reason
    found = _named(key, places)
    place = next((place for place in reversed(found) if place.value == value), found[-1] if found else None)
    return f"{place.where if place else key}: {detail}"


def _types(words: str) -> str:
    """Return type annotations as a reader of YAML would call them.

    Example:
        >>> _types("collections.abc.Sequence[typing.Literal['a', 'b']], <class 'int'>, <class 'NoneType'>")
        "a list of one of 'a', 'b' or int or null"
    """
    words = re.sub(r"<class '([\w.]+)'>", r"\1", words).replace("NoneType", "null")
    words = re.sub(r"(?:\w+\.)+(\w+)", r"\1", words)
    words = re.sub(r", (?![^\[]*\])", " or ", words)  # not the commas inside brackets
    words = re.sub(r"Literal\[([^\]]*)\]", r"one of \1", words)
    words = re.sub(r"Mapping\[(\w+), (\w+)\]", r"a mapping of \1 to \2", words)
    return re.sub(r"(?:Sequence|List|list)\[([^\[\]]*)\]", r"a list of \1", words)


def _meant(name: str, names: Sequence[str]) -> str:
    by_lower = {known.lower(): known for known in names}
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def _named(key: str, places: Iterable[Place]) -> list[Place]:
    return [place for place in places if place.path == key or place.path.endswith(f".{key}")]


def _component(text: str, options: Sequence[str], classes: Mapping[str, type]) -> list[str]:
    """Return the arguments of the component that refused one; nothing where it was the command line as a whole."""
    if "config" not in options:  # the parser of one class alone
        return [option for option in options if not option.endswith(("help", "+"))]
    several = _MANY_TYPES.search(text)
    first = re.search(r"<class '([\w.]+)'>", several["type"]) if several else None
    return _arguments(first[1] if first else None, classes)


def _arguments(owner: str | None, classes: Mapping[str, type]) -> list[str]:
    """Return the arguments of a class, those that it passes on to its base classes included."""
    cls = _class(owner, classes)
    if cls is None:
        return []
    signatures = [inspect.signature(vars(base)["__init__"]) for base in cls.__mro__ if "__init__" in vars(base)]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    every = (parameter for signature in signatures for parameter in signature.parameters.values())
    return [*dict.fromkeys(one.name for one in every if one.name != "self" and one.kind not in variadic)]


def _required(owner: str, classes: Mapping[str, type]) -> list[str]:
    """Return the arguments that a class cannot do without."""
    cls = _class(owner, classes)
    parameters = inspect.signature(cls).parameters.values() if cls else ()
    return [one.name for one in parameters if one.default is one.empty]


def _class(owner: str | None, classes: Mapping[str, type]) -> type | None:
    if owner is None or owner in classes:
        return classes.get(owner or "")
    module, _, name = owner.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError):  # its name is wrong as well, which is an error of its own
        return None
    return cls if isinstance(cls, type) else None
