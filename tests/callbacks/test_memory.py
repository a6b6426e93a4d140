import mmap
from pathlib import Path

import pytest
import torch

from mapo.callbacks import memory

GIB = 2**30


def test_resident_memory_follows_what_is_touched():
    before = memory.host_memory()
    with mmap.mmap(-1, GIB // 4) as block:
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        held = memory.host_memory()
    after = memory.host_memory()
    assert held["rss_gib"] - before["rss_gib"] == pytest.approx(0.25, abs=0.05)
    assert after["rss_gib"] < held["rss_gib"] - 0.2
    assert after["peak_rss_gib"] > held["rss_gib"] - 0.01  # a peak stays; Linux updates it in steps


def test_without_proc_the_system_tells_the_peak(monkeypatch):
    known = memory.host_memory()["peak_rss_gib"]
    monkeypatch.setattr(memory, "_STATUS", Path("/nowhere"))
    assert memory.host_memory() == {"peak_rss_gib": pytest.approx(known, rel=0.5)}


def test_a_cpu_has_no_memory_of_its_own():
    memory.reset_peak(torch.device("cpu"))
    assert memory.device_memory(torch.device("cpu")) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_peak_of_a_gpu_begins_anew():
    device = torch.device("cuda", 0)
    memory.reset_peak(device)
    block = torch.empty(GIB // 4, dtype=torch.uint8, device=device)
    assert memory.device_memory(device)["peak_allocated_gib"] >= 0.25
    del block
    memory.reset_peak(device)
    assert memory.device_memory(device)["peak_allocated_gib"] < 0.25
