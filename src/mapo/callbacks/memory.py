"""How much memory this process has, and had at most."""

import resource
import sys
from pathlib import Path

import torch

_GIB = 2**30
_STATUS = Path("/proc/self/status")


def host_memory() -> dict[str, float]:
    """Return the resident memory of this process now and at most so far, in GiB.

    Its worker processes (of rewards and loaders) are not in it.

    Returns:
        ``rss_gib`` where the system tells it (Linux), and ``peak_rss_gib``.
    """
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if line.startswith("Vm"))
        kib = {name: int(lines[field].split()[0]) for name, field in (("rss_gib", "VmRSS"), ("peak_rss_gib", "VmHWM"))}
        return {name: value * 1024 / _GIB for name, value in kib.items()}
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB}


def reset_peak(device: torch.device) -> None:
    """Begin a new peak of a GPU; that of the host cannot begin anew without hiding it from whoever else measures."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def device_memory(device: torch.device) -> dict[str, float]:
    """Return the most memory that tensors had on a GPU, and that PyTorch held of it, since ``reset_peak``, in GiB."""
    if device.type != "cuda":
        return {}
    return {
        "peak_allocated_gib": torch.cuda.max_memory_allocated(device) / _GIB,
        "peak_reserved_gib": torch.cuda.max_memory_reserved(device) / _GIB,
    }
