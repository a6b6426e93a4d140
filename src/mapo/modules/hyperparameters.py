"""Arguments as plain values, so that a checkpoint rebuilds its module with ``weights_only=True``."""

import contextlib
import functools
import inspect
from abc import ABCMeta
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from lightning.pytorch import LightningModule

# Private, but the only way to tell that LightningCLI already holds the arguments as plain configuration.
from lightning.pytorch.core.mixins.hparams_mixin import _given_hyperparameters, _given_hyperparameters_context
from lightning.pytorch.utilities import rank_zero_warn

_INSTANTIATOR = "lightning.pytorch.cli.instantiate_module"


class NotDescribableError(ValueError):
    """A component that no class path and plain arguments can rebuild, such as a lambda."""


def describe(value: Any) -> Any:
    """Return what YAML would say to build ``value``: plain values, and ``{class_path, init_args}`` for components.

    Args:
        value: A plain value, a record (a concrete dataclass such as ``Sampling``: its fields alone), a component whose
            constructor arguments are its attributes, a class, or a ``functools.partial`` of one.

    Returns:
        Only None, bool, int, float, str, lists and dicts of them.

    Raises:
        NotDescribableError: For lambdas, local classes and objects that do not keep their arguments.

    Example:
        >>> from mapo.types import Sampling
        >>> describe(Sampling(temperature=0.5))["temperature"]
        0.5
        >>> describe(functools.partial(dict, lr=0.1))
        {'class_path': 'builtins.dict', 'init_args': {'lr': 0.1}}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, Mapping):
        return {key: describe(item) for key, item in value.items()}
    if isinstance(value, functools.partial) and isinstance(value.func, type) and not value.args:
        return {"class_path": _class_path(value.func), "init_args": describe(value.keywords)}
    if isinstance(value, type):
        return {"class_path": _class_path(value)}
    if is_dataclass(value) and not isinstance(type(value), ABCMeta):
        return {field.name: describe(getattr(value, field.name)) for field in fields(value) if field.init}
    return {"class_path": _class_path(type(value)), "init_args": _init_args(value)}


def store_hyperparameters(module: LightningModule, arguments: Mapping[str, Any]) -> list[str]:
    """Store a module's constructor arguments in its ``hparams`` as LightningCLI would.

    Args:
        module: Being constructed.
        arguments: Constructor arguments by name.

    Returns:
        Names of the arguments that cannot be described; they are left out, and loading has to be given them.
    """
    if _given_hyperparameters.get() is not None:
        module.save_hyperparameters()
        return []
    plain, absent = _describe_all(arguments)
    module.save_hyperparameters({"_instantiator": _INSTANTIATOR, **plain})
    return absent


@contextlib.contextmanager
def rebuilding(stored: Mapping[str, Any], overrides: Mapping[str, Any]) -> Iterator[list[str]]:
    """Within this context a module built from stored arguments stores them again as they were.

    Args:
        stored: A checkpoint's hyperparameters.
        overrides: Arguments given instead of stored ones.

    Yields:
        Names of the overrides that cannot be described.

    Raises:
        ValueError: The stored policy would run code that its model brings, and no other one is given.
    """
    if "policy" not in overrides:
        _refuse_code(stored.get("policy"))
    plain, absent = _describe_all(overrides)
    kept = {name: value for name, value in stored.items() if name not in absent}
    with _given_hyperparameters_context({**kept, **plain}, _INSTANTIATOR):
        yield absent


def _refuse_code(policy: Any) -> None:
    if isinstance(policy, Mapping) and policy.get("trust_remote_code"):
        raise ValueError(
            f"this checkpoint asks to run the code that the model at {policy.get('path')!r} brings; if you trust it, "
            "give the policy yourself: load_from_checkpoint(..., policy=Policy(..., trust_remote_code=True))"
        )


def _describe_all(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    plain, absent = {}, []
    for name, value in arguments.items():
        try:
            plain[name] = describe(value)
        except NotDescribableError as reason:
            absent.append(name)
            rank_zero_warn(f"{name} is not stored in checkpoints: {reason}; pass {name}=... to load_from_checkpoint")
    return plain, absent


def _class_path(cls: type) -> str:
    if "<locals>" in cls.__qualname__ or "<lambda>" in cls.__qualname__:
        raise NotDescribableError(f"{cls.__qualname__} is defined inside a function; move it to the top of a file")
    return f"{cls.__module__}.{cls.__qualname__}"


def _init_args(value: Any) -> dict[str, Any]:
    if inspect.isroutine(value):
        raise NotDescribableError(f"{value!r} is a function, not a class with plain arguments")
    try:
        parameters = inspect.signature(type(value)).parameters
    except ValueError as error:
        raise NotDescribableError(f"{value!r} has no signature") from error
    names = [name for name in parameters if name not in ("args", "kwargs")]
    missing = [name for name in names if not hasattr(value, name)]
    if missing:
        raise NotDescribableError(f"{type(value).__name__} does not keep its argument {missing[0]!r} as an attribute")
    return {name: describe(getattr(value, name)) for name in names}
