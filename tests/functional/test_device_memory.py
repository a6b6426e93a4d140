import torch

from mapo.functional.device_memory import free_memory


def test_memory_of_the_cpu_is_not_known():
    assert free_memory(torch.device("cpu")) is None


def test_what_is_held_and_unused_counts_as_free(monkeypatch):
    for name, value in {"memory_reserved": 70, "memory_allocated": 40, "mem_get_info": (5, 80)}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert free_memory(torch.device("cuda")) == 35
