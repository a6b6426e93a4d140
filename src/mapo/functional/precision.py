"""The precision that products have."""

import torch
from torch import Tensor


def compute_dtype(weight: Tensor) -> torch.dtype:
    """Return the type in which products with a weight are computed here: autocast's where it is on, else the weight's.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     compute_dtype(torch.zeros(1))
        torch.bfloat16
    """
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
