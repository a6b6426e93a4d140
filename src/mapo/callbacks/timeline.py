"""The first and the latest value of every figure of every evaluated set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Reading(NamedTuple):
    """One value and when it was read.

    Attributes:
        phase: Rollout phases finished before.
        value: In the figure's own unit.
    """

    phase: int
    value: float


@dataclass
class Timeline:
    """Remembers readings by set and metric.

    Attributes:
        first: The earliest reading; of several in the same phase the last one.
        latest: The last reading.
    """

    first: dict[str, dict[str, Reading]] = field(default_factory=dict)
    latest: dict[str, dict[str, Reading]] = field(default_factory=dict)

    def read(self, sets: Mapping[str, Mapping[str, float]], phase: int) -> None:
        """Take in the values of one evaluation."""
        for name, metrics in sets.items():
            for metric, value in metrics.items():
                reading = Reading(phase, value)
                self.latest.setdefault(name, {})[metric] = reading
                earliest = self.first.setdefault(name, {}).setdefault(metric, reading)
                if phase <= earliest.phase:
                    self.first[name][metric] = reading

    def before(self, name: str, metric: str) -> Reading | None:
        """Return the first reading if a later one followed, or if it was made before training."""
        first, latest = self.first.get(name, {}).get(metric), self.latest.get(name, {}).get(metric)
        return first if first is not None and (first.phase == 0 or first != latest) else None

    def after(self, name: str, metric: str) -> Reading | None:
        """Return the latest reading unless it was made before training."""
        latest = self.latest.get(name, {}).get(metric)
        return latest if latest is not None and latest.phase > 0 else None

    def figures(self) -> dict[str, dict[str, dict[str, float | int | None]]]:
        """Return value and phase of both readings by set and metric."""
        return {
            name: {metric: self._figure(name, metric) for metric in metrics} for name, metrics in self.latest.items()
        }

    def _figure(self, name: str, metric: str) -> dict[str, float | int | None]:
        readings = {"before": self.before(name, metric), "after": self.after(name, metric)}
        values = {key: None if reading is None else reading.value for key, reading in readings.items()}
        phases = {f"{key}_phase": None if reading is None else reading.phase for key, reading in readings.items()}
        return {**values, **phases}

    def state_dict(self) -> dict[str, Any]:
        """Return the readings in plain values."""
        return {"first": _plain(self.first), "latest": _plain(self.latest)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "Timeline":
        """Rebuild from ``state_dict``."""
        return cls(first=_readings(state["first"]), latest=_readings(state["latest"]))


def _plain(sets: Mapping[str, Mapping[str, Reading]]) -> dict[str, dict[str, list[float]]]:
    return {name: {metric: list(reading) for metric, reading in metrics.items()} for name, metrics in sets.items()}


def _readings(state: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Reading]]:
    return {
        name: {metric: Reading(int(phase), float(value)) for metric, (phase, value) in metrics.items()}
        for name, metrics in state.items()
    }
