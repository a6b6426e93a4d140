"""Estimators of KL(policy ‖ reference) from the log-probs of sampled tokens.

With ρ = log π - log π_ref at a token drawn from π, all three estimate the same divergence, but as a term of the loss
they pull in different directions, since the gradient does not pass through the sampling:

    estimator   mean over π            E[∇ estimator]      as a loss
    k1 = ρ      KL(π‖ref), exactly     0                   no pull at all, only noise: for logs and rewards
    k2 = ρ²/2   KL(π‖ref), 2nd order   ∇ KL(π‖ref)         the right gradient
    k3          KL(π‖ref), exactly     ∇ KL(ref‖π)         the forward KL's; equal to second order near ref

Per token, given its prefix; the effect of a token on later ones is left out, as in GRPO. Sources: Schulman,
"Approximating KL divergence" (http://joschu.net/blog/kl-approx.html); Tang and Munos, "On a few pitfalls in KL
divergence gradient estimation for RL" (https://arxiv.org/abs/2506.09477).
"""

from jaxtyping import Float
from torch import Tensor


def k1(
    logprobs: Float[Tensor, "N T"], ref_logprobs: Float[Tensor, "N T"], *, max_log_ratio: float = 20.0
) -> Float[Tensor, "N T"]:
    """Return the log-ratio: unbiased, of either sign, high variance.

    k1 = ρ, with ρ = log π - log π_ref.

    Source: Schulman (http://joschu.net/blog/kl-approx.html). As a loss its expected gradient is E[∇ log π] = 0.

    Args:
        logprobs: Of the policy that sampled the tokens, in nats.
        ref_logprobs: Of the reference, in nats; no gradient goes into them.
        max_log_ratio: ρ is clamped to ± this, in nats; beyond it the gradient is 0.

    Returns:
        Nats per token; 0 where the policies agree.

    Example:
        >>> import torch
        >>> k1(torch.tensor([[-1.0]]), torch.tensor([[-1.5]]))
        tensor([[0.5000]])
    """
    return (logprobs - ref_logprobs.detach()).clamp(-max_log_ratio, max_log_ratio)


def k2(
    logprobs: Float[Tensor, "N T"], ref_logprobs: Float[Tensor, "N T"], *, max_log_ratio: float = 20.0
) -> Float[Tensor, "N T"]:
    """Return half the squared log-ratio: never negative, biased in value, right in gradient.

    k2 = ρ² / 2, with ρ = log π - log π_ref.

    Source: Schulman (http://joschu.net/blog/kl-approx.html). As a loss its expected gradient is
    E[ρ ∇ log π] = ∇ KL(π‖ref) while the tokens are the policy's own.

    Args:
        logprobs: Of the policy that sampled the tokens, in nats.
        ref_logprobs: Of the reference, in nats; no gradient goes into them.
        max_log_ratio: ρ is clamped to ± this, in nats; beyond it the gradient is 0.

    Returns:
        Squared nats per token, >= 0; 0 where the policies agree.

    Example:
        >>> import torch
        >>> k2(torch.tensor([[-1.0]]), torch.tensor([[-1.5]]))
        tensor([[0.1250]])
    """
    return k1(logprobs, ref_logprobs, max_log_ratio=max_log_ratio).square() / 2


def k3(
    logprobs: Float[Tensor, "N T"],
    ref_logprobs: Float[Tensor, "N T"],
    *,
    max_log_ratio: float = 20.0,
    max_value: float = 10.0,
) -> Float[Tensor, "N T"]:
    """Return the log-ratio with the control variate that makes it positive: unbiased, never negative.

    k3 = exp(-ρ) - 1 + ρ, with ρ = log π - log π_ref.

    Source: Schulman (http://joschu.net/blog/kl-approx.html); the KL of GRPO, eq. 4 (https://arxiv.org/abs/2402.03300),
    and of MAPO, whose code has these clamps. As a loss its expected gradient is that of the forward
    divergence, ∇ KL(ref‖π).

    Args:
        logprobs: Of the policy that sampled the tokens, in nats.
        ref_logprobs: Of the reference, in nats; no gradient goes into them.
        max_log_ratio: ρ is clamped to ± this, in nats; beyond it the gradient is 0.
        max_value: The estimate is cut here (from ρ < -2.6 on), in nats; beyond it the gradient is 0.

    Returns:
        Nats per token, in [0, max_value]; 0 where the policies agree.

    Example:
        >>> import torch
        >>> k3(torch.tensor([[-1.0]]), torch.tensor([[-1.5]]))
        tensor([[0.1065]])
    """
    log_ratio = k1(logprobs, ref_logprobs, max_log_ratio=max_log_ratio)
    # expm1: near ρ = 0 the terms cancel to ρ²/2, and exp(-ρ) - 1 would have lost its digits by then.
    return ((-log_ratio).expm1() + log_ratio).clamp(-max_value, max_value)
