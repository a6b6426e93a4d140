"""What one rollout phase does, operation by operation: a trace, and a table of the slowest for each part."""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from mapo.callbacks.text_table import text_table
from mapo.modules.mapo import MAPOModule

_MARK = "mapo: "
_METHODS = {"generate": "rollout", "update": "update"}
_BETWEEN = "(Python, between operations)"
_EXPLAINED = "Own times: without what an operation called. Recording them slows short operations and Python down."
_ROWS = 12


class Span(NamedTuple):
    """A stretch of a trace, in microseconds from its start."""

    start: float
    stop: float


@dataclass
class Operation:
    """What one operation took in one part, in microseconds, without what it called.

    Attributes:
        calls: How often it ran.
        host: On the CPU; in a run on a GPU, the time to launch it.
        device: On the GPU.
    """

    calls: int = 0
    host: float = 0.0
    device: float = 0.0


class PhaseProfile:
    """Records one phase of a module from ``start`` to ``stop``; its rollout and its update are marked in the trace."""

    def __init__(self, module: MAPOModule) -> None:
        self._module = module
        gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        self._profiler = profile(activities=[ProfilerActivity.CPU, *gpu])

    @classmethod
    def start(cls, module: MAPOModule) -> Self:
        """Begin to record; until ``stop`` the module's methods are wrapped in marks."""
        own = cls(module)
        for name, part in _METHODS.items():
            setattr(module, name, _marked(getattr(module, name), part))
        own._profiler.start()
        return own

    def stop(self) -> None:
        """End recording, and leave the module as it was."""
        self._profiler.stop()
        for name in _METHODS:
            delattr(self._module, name)

    def write(self, folder: Path, name: str) -> Path:
        """Write the trace ``name.json.gz`` and the table ``name.txt``; return the path of the table."""
        folder.mkdir(parents=True, exist_ok=True)
        self._profiler.export_chrome_trace(str(folder / f"{name}.json.gz"))
        path = folder / f"{name}.txt"
        path.write_text(profile_tables(self._profiler.events() or ()) + "\n", encoding="utf-8")
        return path


def profile_tables(events: Iterable[Any]) -> str:
    """Return the slowest operations of rollout, reward, update and the rest, by their own time: the GPU's if any.

    Args:
        events: A profiler's function events. Rewards are what lies between the marks of rollout and update; operations
            on a GPU belong to the part that launched them.
    """
    found = [event for event in events if event.device_type == DeviceType.CPU and not event.is_async]
    spans = _spans(found)
    parts: dict[str, dict[str, Operation]] = {part: defaultdict(Operation) for part in (*spans, "other")}
    for event in found:
        name, began = event.name, event.time_range.start
        part = next((part for part, span in spans.items() if span.start <= began < span.stop), "other")
        operation = parts[part][_BETWEEN if name.startswith(_MARK) else name]
        operation.calls += 1
        operation.host += event.self_cpu_time_total
        operation.device += event.self_device_time_total
    titles = {part: f"{part}, {(span.stop - span.start) / 1e3:,.1f} ms" for part, span in spans.items()}
    tables = [_table(titles.get(part, part), operations) for part, operations in parts.items() if operations]
    return "\n\n".join([_EXPLAINED, *tables])


def _spans(events: Iterable[Any]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    for event in events:
        if event.name.startswith(_MARK):
            part, start, stop = event.name.removeprefix(_MARK), event.time_range.start, event.time_range.end
            before = spans.get(part, Span(start, stop))
            spans[part] = Span(min(before.start, start), max(before.stop, stop))
    rollout, update = spans["rollout"], spans["update"]
    return {"rollout": rollout, "reward": Span(rollout.stop, update.start), "update": update}


def _table(title: str, operations: Mapping[str, Operation]) -> str:
    host = sum(operation.host for operation in operations.values())
    device = sum(operation.device for operation in operations.values())

    def line(name: str, operation: Operation) -> list[str]:
        cells = [name, f"{operation.calls:,}", f"{operation.host / 1e3:.1f}", f"{100 * operation.host / host:.1f}"]
        if device:
            cells += [f"{operation.device / 1e3:.1f}", f"{100 * operation.device / device:.1f}"]
        return cells

    slowest = sorted(operations.items(), key=lambda item: -(item[1].device if device else item[1].host))[:_ROWS]
    calls = sum(operation.calls for operation in operations.values())
    header = [title, "calls", "own CPU ms", "CPU %", *(["own GPU ms", "GPU %"] if device else [])]
    total = line("all", Operation(calls, host, device))
    return text_table(header, [*(line(name[:60], operation) for name, operation in slowest), total])


def _marked(method: Callable[..., Any], part: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def marked(*args: Any, **kwargs: Any) -> Any:
        with record_function(_MARK + part):
            return method(*args, **kwargs)

    return marked
