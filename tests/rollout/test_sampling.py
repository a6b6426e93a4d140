import pytest
import torch

from mapo.functional.noise import token_noise
from mapo.rollout.sampling import draw, token_law, truncate
from mapo.types import Sampling

LOGITS = torch.tensor([[2.0, 1.0, 0.5, 0.0, -1.0, 3.0]])
BANNED = torch.tensor([5])


def test_law_by_hand():
    law = token_law(LOGITS, banned=BANNED, temperature=0.5)
    weights = torch.tensor([4.0, 2.0, 1.0, 0.0, -2.0]).exp()
    torch.testing.assert_close(law[0, :5].exp(), weights / weights.sum())
    assert law[0, 5] == -torch.inf


def test_law_of_half_precision_logits_is_float32_and_leaves_them_alone():
    logits = LOGITS.to(torch.bfloat16)
    assert token_law(logits, banned=BANNED, temperature=1.0).dtype == torch.float32
    assert torch.equal(logits, LOGITS.to(torch.bfloat16))
    token_law(LOGITS, banned=BANNED, temperature=1.0)
    assert LOGITS[0, 5] == 3.0


@pytest.mark.parametrize(
    ("top_p", "top_k", "kept"),
    [(1.0, 0, [0, 1, 2, 3]), (0.7, 0, [0, 2]), (0.71, 0, [0, 2, 1]), (0.01, 0, [0]), (1.0, 2, [0, 2]), (0.5, 2, [0])],
)
def test_truncation_by_hand(top_p, top_k, kept):
    probs = torch.tensor([[0.5, 0.15, 0.2, 0.15]], dtype=torch.float64)
    expected = torch.zeros_like(probs)
    expected[0, kept] = probs[0, kept]
    torch.testing.assert_close(truncate(probs.log(), top_p=top_p, top_k=top_k), expected)


def test_truncation_is_that_of_transformers():
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    warped = TopPLogitsWarper(top_p=0.8)(None, TopKLogitsWarper(top_k=20)(None, logits))
    weights = truncate(logits.log_softmax(-1), top_p=0.8, top_k=20)
    torch.testing.assert_close(weights / weights.sum(-1, keepdim=True), warped.softmax(-1))


def by_sorting(law, top_p, top_k):
    """All of the vocabulary in a stable order."""
    probs = law.exp()
    ordered, order = probs.double().sort(dim=-1, descending=True, stable=True)
    ordered[:, top_k or law.shape[-1] :] = 0.0
    before = ordered.cumsum(dim=-1) - ordered
    kept = before < (top_p * ordered.sum(dim=-1, keepdim=True) if top_p < 1 else torch.inf)
    return probs * torch.zeros_like(kept).scatter(-1, order, kept & (ordered > 0))


@pytest.mark.parametrize("size", [5, 100, 600, 6000])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 8.0])
def test_truncation_keeps_what_a_stable_sort_keeps(size, spread):
    logits = torch.randn(40, size, generator=torch.Generator().manual_seed(size)) * spread
    logits[:20] = logits[:20].to(torch.bfloat16)  # many tokens of equal probability
    logits[:, : size // 4] = float("-inf")
    law = logits.log_softmax(-1)
    for top_p, top_k in [(0.01, 0), (0.5, 0), (0.9, 20), (0.95, 0), (0.999, 0), (1.0, 1), (1.0, 20), (0.9, size)]:
        assert torch.equal(truncate(law, top_p=top_p, top_k=top_k), by_sorting(law, top_p, top_k)), (top_p, top_k)


def test_of_equal_tokens_the_first_are_kept():
    law = torch.full((1, 1000), 1e-3, dtype=torch.float64).log()
    assert truncate(law, top_p=0.1005, top_k=0).nonzero()[:, 1].tolist() == list(range(101))
    assert truncate(law, top_p=1.0, top_k=3).nonzero()[:, 1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.8, "temperature": 2.0}])
def test_samples_follow_the_law(settings):
    sampling = Sampling(**settings)
    count = 20_000
    law = token_law(LOGITS, banned=BANNED, temperature=sampling.temperature).expand(count, -1)
    index = torch.arange(count)
    noise = token_noise(torch.full_like(index, 11), index // 100, index % 100)
    tokens, logprobs = draw(law, noise, sampling)
    weights = truncate(law[:1], top_p=sampling.top_p, top_k=sampling.top_k)[0]
    expected = count * weights / weights.sum()
    counts = torch.bincount(tokens, minlength=6)
    possible = expected > 0
    assert not counts[~possible].any()
    chi_square = ((counts - expected) ** 2 / expected)[possible].sum()
    # The 0.999 quantiles of chi-square with 1 to 4 degrees of freedom.
    assert chi_square < {2: 10.8, 3: 13.8, 4: 16.3, 5: 18.5}[int(possible.sum())]
    # Whatever was cut off, the log-prob is that of the whole law.
    assert torch.equal(logprobs, law[index, tokens])


def test_greedy_takes_the_most_probable_allowed_token():
    law = token_law(LOGITS, banned=BANNED, temperature=0.0)
    tokens, logprobs = draw(law, torch.tensor([0.999]), Sampling(temperature=0.0))
    assert tokens.tolist() == [0]
    assert logprobs[0] == law[0, 0] == token_law(LOGITS, banned=BANNED, temperature=1.0)[0, 0]
