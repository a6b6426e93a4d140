"""A plain Python function as a reward component."""

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from typing_extensions import override

from mapo.rewards.base import Reward
from mapo.types import Completion

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class FunctionReward(Reward):
    """What a function of yours returns, synchronous or ``async def``, given the data set's columns by name.

    The function is called once with all completions. Every argument is a list with one entry per completion:
    ``completions`` (texts, with what the chat template wrote of them), ``completion_ids``, ``truncated``, ``prompts``
    (chat messages), ``sample_id``, ``answer``, and the metadata columns of the rows by their own names; a row without a
    column has None there. It gets those that its signature names, or all of them with ``**kwargs``. It returns one
    value in [0, 1] per completion, or None where it cannot tell. The function's name is that of the component.

    Raises:
        ValueError: The function cannot be imported or called by keyword; or it asks for a column that no row has.
        RuntimeError: From calls; the function raised the error that this one is raised from.
    """

    function: str
    """Import path, such as my_rewards.brevity for brevity in my_rewards.py in the working folder."""
    weight: float = 1.0
    """Share of this component in the total reward."""
    required_for_success: bool = False
    """A completion succeeds only if this component is fully earned."""
    is_accuracy: bool = False
    """Whether this component is the accuracy of the metrics."""

    def __post_init__(self) -> None:
        for parameter in inspect.signature(load_function(self.function)).parameters.values():
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise ValueError(
                    f"reward function {self.function!r} takes {parameter.name!r} by position only; "
                    "columns are passed by keyword: leave out the '/' in its signature"
                )

    @property
    @override
    def name(self) -> str:
        return self.function.rpartition(".")[2]

    @override
    def __call__(self, completions: Sequence[Completion]) -> list[float | None]:
        if not completions:
            return []
        function = load_function(self.function)
        arguments = self._arguments(function, columns_of(completions))
        try:
            values = function(**arguments)
            if inspect.isawaitable(values):
                values = _wait_for(values)
        except Exception as error:  # whatever it is, one must be told whose function it was
            raise RuntimeError(f"reward function {self.function!r} raised {type(error).__name__}: {error}") from error
        return self._checked(values)

    def _arguments(self, function: Callable[..., Any], columns: Mapping[str, list[Any]]) -> Mapping[str, list[Any]]:
        parameters = inspect.signature(function).parameters.values()
        named = [parameter for parameter in parameters if parameter.kind not in _VARIADIC]
        for parameter in named:
            if parameter.name not in columns and parameter.default is parameter.empty:
                raise ValueError(
                    f"reward function {self.function!r} asks for the column {parameter.name!r}, but the rows have "
                    f"{', '.join(columns)}; rename it, or give it a default for data sets without it"
                )
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            return columns
        return {parameter.name: columns[parameter.name] for parameter in named if parameter.name in columns}

    def _checked(self, values: Any) -> list[float | None]:
        if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
            raise ValueError(f"reward function {self.function!r} must return one number per completion, got {values!r}")
        return [None if value is None else self._number(value) for value in values]

    def _number(self, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"reward function {self.function!r} must return numbers in [0, 1] or None, got {value!r}"
            ) from error


def load_function(path: str) -> Callable[..., Any]:
    """Return what an import path names.

    Raises:
        ValueError: There is no such module, or nothing to call in it.

    Example:
        >>> load_function("math.sqrt")(9)
        3.0
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ValueError(f"function must be an import path such as my_rewards.{path or 'brevity'}, got {path!r}")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"function {path!r}: {module_name} cannot be imported ({error}); "
            "`python -m mapo` finds files in the folder it is started in, and installed packages"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        similar = get_close_matches(name, [other for other, value in vars(module).items() if callable(value)], n=1)
        hint = f"; did you mean {module_name}.{similar[0]}?" if similar else ""
        where = getattr(module, "__file__", None) or module_name
        raise ValueError(f"function {path!r}: there is no function {name} in {where}{hint}")
    return function


def columns_of(completions: Sequence[Completion]) -> dict[str, list[Any]]:
    """Return what functions may ask for, one entry per completion; None where a row lacks a metadata column."""
    rows = [completion.prompt for completion in completions]
    names = dict.fromkeys(name for row in rows for name in row.metadata)
    return {name: [row.metadata.get(name) for row in rows] for name in names} | {
        "completions": [completion.prefill + completion.text for completion in completions],
        "completion_ids": [completion.token_ids.tolist() for completion in completions],
        "truncated": [completion.truncated for completion in completions],
        "prompts": [list(row.messages) for row in rows],
        "sample_id": [row.sample_id for row in rows],
        "answer": [row.answer for row in rows],
    }


def _wait_for(values: Awaitable[Any]) -> Any:
    async def run() -> Any:
        return await values

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    # In a notebook a loop runs in this thread already, and loops do not nest.
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, run()).result()
