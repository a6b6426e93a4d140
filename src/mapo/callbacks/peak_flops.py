"""What GPUs can do at most, by the names that drivers give them."""

import re

import torch

# Dense bfloat16 with float32 accumulation, in TFLOP/s; data sheets of H100 and later print twice that, "with sparsity".
# Lightning's table mixes the two, and has no tensor-core figures for some cards. More special names come first.
_TFLOPS = {
    r"B200": 2250.0,  # https://www.nvidia.com/en-us/data-center/hgx
    r"H200 NVL|H100 NVL": 835.0,  # https://www.nvidia.com/en-us/data-center/h200
    r"GH200|H200": 989.4,
    r"H100 PCIe": 756.0,  # https://www.nvidia.com/en-us/data-center/h100
    r"H100|H800": 989.4,
    r"A100|A800": 312.0,  # https://www.nvidia.com/en-us/data-center/a100
    r"A40": 149.7,  # https://www.nvidia.com/en-us/data-center/a40
    r"A30": 165.0,  # https://www.nvidia.com/en-us/data-center/products/a30-gpu
    r"A10": 125.0,  # https://www.nvidia.com/en-us/data-center/products/a10-gpu
    r"L40S": 362.1,  # https://www.nvidia.com/en-us/data-center/l40s
    r"L40": 181.1,  # https://www.nvidia.com/en-us/data-center/l40
    r"L4": 121.0,  # https://www.nvidia.com/en-us/data-center/l4
    r"RTX A6000": 154.8,  # https://www.nvidia.com/en-us/design-visualization/rtx-a6000
    r"RTX 6000 Ada": 364.2,  # https://www.nvidia.com/en-us/design-visualization/rtx-6000
    r"RTX 4090(?! D)": 165.2,  # Ada architecture whitepaper, table 2
    r"RTX 3090": 71.0,  # GA102 architecture whitepaper, table 9
}


def known_peak_tflops(name: str) -> float | None:
    """Return the peak of a GPU in dense bfloat16, in TFLOP/s; None where it is not known, as for a slice of one (MIG).

    Example:
        >>> known_peak_tflops("NVIDIA A100-SXM4-80GB"), known_peak_tflops("NVIDIA H200")
        (312.0, 989.4)
        >>> known_peak_tflops("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
        True
    """
    if re.search(r"\bMIG\b", name):
        return None
    return next((peak for pattern, peak in _TFLOPS.items() if re.search(rf"\b({pattern})\b", name)), None)


def peak_tflops(device: torch.device) -> float | None:
    """Return the peak of a device in TFLOP/s, where it is a known GPU."""
    return known_peak_tflops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
