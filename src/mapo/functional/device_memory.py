"""Memory of a device that is still to be had."""

import torch


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that can still be allocated on a CUDA device; None on others.

    What PyTorch holds and does not use counts as free, though the driver calls it taken.

    Example:
        >>> free_memory(torch.device("cpu"))
    """
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
