import pytest
import torch

from mapo.callbacks.peak_flops import known_peak_tflops, peak_tflops


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A100 80GB PCIe", 312.0),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H100 NVL", 835.0),
        ("NVIDIA H200", 989.4),
        ("NVIDIA GH200 480GB", 989.4),
        ("NVIDIA B200", 2250.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.1),
        ("NVIDIA RTX A6000", 154.8),
        ("NVIDIA RTX 6000 Ada Generation", 364.2),
        ("NVIDIA GeForce RTX 4090", 165.2),
    ],
)
def test_names_of_drivers_are_known(name, peak):
    assert known_peak_tflops(name) == peak


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA A10G",
        "Tesla V100-SXM2-16GB",
        "Quadro RTX 6000",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA GeForce RTX 4090 D",
    ],
)
def test_others_are_not_taken_for_them(name):
    assert known_peak_tflops(name) is None


def test_a_cpu_has_no_peak():
    assert peak_tflops(torch.device("cpu")) is None
