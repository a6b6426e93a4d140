"""Means and deviations over the entries that count."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(
    values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, dim: int | None = None, keepdim: bool = False
) -> Float[Tensor, "..."]:
    """Return the mean over the entries where the mask is True.

    Args:
        values: Anything, NaN and infinity included, where the mask is False.
        mask: True where a value counts.
        dim: Dimension to reduce; all of them when None.
        keepdim: Keep the reduced dimension with size 1.

    Returns:
        The mean; 0 where nothing counts.

    Example:
        >>> masked_mean(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False]))
        tensor(2.)
    """
    dims = tuple(range(values.ndim)) if dim is None else (dim,)
    count = mask.sum(dim=dims, keepdim=keepdim).clamp_min(1)
    return torch.where(mask, values, 0.0).sum(dim=dims, keepdim=keepdim) / count


def masked_std(
    values: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    *,
    dim: int | None = None,
    keepdim: bool = False,
    ddof: int = 0,
) -> Float[Tensor, "..."]:
    """Return the standard deviation over the entries where the mask is True.

    σ = √(Σ (x - μ)² / (n - ddof)), with n the number of entries that count and μ their mean.

    Args:
        values: Anything, NaN and infinity included, where the mask is False.
        mask: True where a value counts.
        dim: Dimension to reduce; all of them when None.
        keepdim: Keep the reduced dimension with size 1.
        ddof: 0 for the population's deviation, 1 for the sample's.

    Returns:
        The deviation in the unit of the values; 0 where no more than ddof entries count.

    Example:
        >>> masked_std(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False]))
        tensor(1.)
    """
    dims = tuple(range(values.ndim)) if dim is None else (dim,)
    values = torch.where(mask, values, 0.0)
    deviation = (values - masked_mean(values, mask, dim=dim, keepdim=True)).masked_fill(~mask, 0.0)
    count = (mask.sum(dim=dims, keepdim=keepdim) - ddof).clamp_min(1)
    return (deviation.square().sum(dim=dims, keepdim=keepdim) / count).sqrt()
