"""The loaded policy: a Hugging Face model that scores completions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mapo.functional.logprobs import rows_per_tile, tiled_logprobs
from mapo.policies import shared_prefix
from mapo.policies.batching import collate, prompt_positions
from mapo.policies.host_copies import copied_to
from mapo.policies.renderer import Renderer
from mapo.types import EncodedPrompt, TokenScores

T = TypeVar("T")


class PolicyModel(nn.Module):
    """A Hugging Face model with its renderer, and with LoRA or a frozen reference where asked.

    ``score``, ``next_logits`` and ``logits_gap`` are the only ways to the weights, and all lead through ``enter``:
    sharding needs one entry, at the root.

    Attributes:
        model: The Hugging Face model, wrapped by peft when LoRA is on.
        renderer: Its tokenizer and processor.
        shares_prefix: Whether ``score`` packs its rows without padding and runs a prompt once for all that carry it;
            see ``share_prefix``. False is padded rows, each with a copy of its prompt: slower, and gives the same.
        gathered: Whether sharded weights are whole on every rank just now; see ``mapo.policies.sharding``.
        gathered_dtype: Type in which they then are; None: each in its own.
        reference_on_host: Whether the frozen reference stays in the host's memory while it does not score.
    """

    model: Any
    renderer: Renderer
    shares_prefix: bool
    gathered: bool
    gathered_dtype: torch.dtype | None = None
    reference_on_host: bool

    def __init__(
        self, model: Any, renderer: Renderer, *, reference: Any = None, reference_on_host: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.renderer = renderer
        # In a tuple, so that it is no submodule: neither checkpoints nor optimizers nor wrappers see the reference.
        self._reference = (None if reference is None else PolicyModel(reference, renderer),)
        self._acting: PolicyModel | None = None
        self.shares_prefix = self.gathered = False
        self.reference_on_host = reference_on_host
        if hasattr(model, "disable_adapter"):  # the base is at the policy's path, and never changes
            self.register_state_dict_post_hook(_leave_out_frozen)
            self.register_load_state_dict_post_hook(_forgive_frozen)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def reference(self) -> "PolicyModel | None":
        """The frozen copy that ``as_reference`` uses, for strategies that shard it; None with LoRA or without one."""
        return self._reference[0]

    def decoder_layers(self) -> list[nn.Module]:
        """Return the blocks of the language model.

        Raises:
            ValueError: The architecture does not say which they are.
        """
        layers = getattr(self._network().get_decoder(), "layers", None)
        if not isinstance(layers, nn.ModuleList):
            raise ValueError(
                f"{type(self._causal_lm()).__name__} cannot be sharded: its decoder has no list of layers; train it "
                "under 'ddp', or choose another model"
            )
        return list(layers)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that an optimizer should have."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def share_prefix(self) -> str | None:
        """Let ``score`` pack its rows without padding and run a prompt, images included, once for all that carry it.

        Returns:
            None, or why the architecture does not allow it, so that every row keeps its own copy of the prompt.
        """
        networks = [self._network(), *([] if self.reference is None else [self.reference._network()])]
        reason = shared_prefix.why_not(networks[0])
        if reason is None:
            for network in networks:
                shared_prefix.enable(network)
        self.shares_prefix = reason is None
        return reason

    def enter(self, compute: Callable[[], T]) -> T:
        """Return what a computation on the weights gives; where they are sharded, the root's are gathered for it.

        It is a function without arguments, since strategies copy or cast whatever tensors they find in these.
        """
        return compute()

    def forward(self, *args: Any, **kwargs: Any) -> TokenScores:
        """Return ``score``: for strategies whose wrappers must be called."""
        return self.score(*args, **kwargs)

    def score(
        self,
        prompts: Sequence[EncodedPrompt],
        token_ids: Sequence[Int[Tensor, " T"]],
        *,
        temperature: float,
        entropy: bool = False,
    ) -> TokenScores:
        """Return the log-probs of N completions, row i continuing prompt i, with gradient where grad mode is on.

        Args:
            prompts: N prompts; the same object may come in many rows.
            token_ids: N completions as sampled; an empty one gives a row of zeros.
            temperature: T > 0 of the law; a greedy rollout records 1.
            entropy: Also return the entropy.

        Raises:
            ValueError: A completion holds a banned token, or the temperature is not positive.
        """
        scorer = self if self._acting is None else self._acting
        token_ids = [ids.to("cpu", torch.int64) for ids in token_ids]
        self._check(prompts, token_ids)
        return scorer.enter(partial(scorer._score, prompts, token_ids, temperature, entropy))

    def _score(
        self,
        prompts: Sequence[EncodedPrompt],
        token_ids: Sequence[Int[Tensor, " T"]],
        temperature: float,
        entropy: bool,
    ) -> TokenScores:
        hidden, targets = self._completion_states(prompts, token_ids), torch.cat(tuple(token_ids)).to(self.device)
        logprobs, entropies = tiled_logprobs(
            hidden,
            self._head(),
            targets,
            temperature=temperature,
            banned=self._banned(),
            entropy=entropy,
            tile=rows_per_tile(self._causal_lm().config.get_text_config().vocab_size),
        )
        mask = _ragged_mask([len(ids) for ids in token_ids], hidden.device)
        return TokenScores(_scatter(logprobs, mask), None if entropies is None else _scatter(entropies, mask))

    def next_logits(self, batch: dict[str, Tensor], cache: Any = None) -> tuple[Float[Tensor, "N V"], Any]:
        """Return the raw logits after each row's last token, and the key-value cache that holds the rows.

        Args:
            batch: Keyword arguments of the model; rows end at the last column.
            cache: What the previous call returned; None starts one.
        """
        return self.enter(partial(self._next_logits, batch, cache))

    def _next_logits(self, batch: dict[str, Tensor], cache: Any = None) -> tuple[Float[Tensor, "N V"], Any]:
        output = self._network()(**batch, past_key_values=cache, use_cache=True)
        return self._head()(output.last_hidden_state[:, -1]), output.past_key_values

    @torch.no_grad()
    def logits_gap(self, prompt: EncodedPrompt) -> float:
        """Return how far these logits are from those of the model's own forward, at the prompt's last token.

        Some architectures scale their logits in a way that ``score`` and ``next_logits`` would both have to know of.
        """
        return self.enter(partial(self._logits_gap, prompt))

    def _logits_gap(self, prompt: EncodedPrompt) -> float:
        nothing = [torch.empty(0, dtype=torch.int64)]
        positions = self.positions([prompt])
        batch = collate([prompt], nothing, positions, pad_id=self.renderer.pad_id, side="left", device=self.device)
        here, _ = self._next_logits(batch)
        own = self._causal_lm()(**batch, use_cache=False).logits[:, -1]
        return float((here.double() - own.double()).abs().max())

    def positions(self, prompts: Sequence[EncodedPrompt]) -> list[Int[Tensor, "A P"]]:
        """Return the rotary positions of each prompt's tokens."""
        return prompt_positions(self._network(), prompts)

    @contextmanager
    def as_reference(self) -> Iterator[None]:
        """Within this context ``score`` is that of the frozen reference, without gradient.

        Raises:
            ValueError: The policy was loaded with ``reference=False``.
        """
        if self.reference is not None:
            self._acting = self.reference
            self._acting.shares_prefix = self.shares_prefix
            try:
                with torch.no_grad(), copied_to(self.device, self.reference if self.reference_on_host else None):
                    yield
            finally:
                self._acting = None
        elif hasattr(self.model, "disable_adapter"):
            with torch.no_grad(), self.model.disable_adapter():
                yield
        else:
            raise ValueError("this policy has no reference: load it with reference=True, or with LoRA")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PolicyModel":
        # The reference is no submodule, so it has to be told of every move to another device or type.
        if self.reference is not None and not self.reference_on_host:
            self.reference._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def _causal_lm(self) -> Any:
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def _network(self) -> Any:
        return self._causal_lm().base_model

    def _head(self) -> Callable[[Tensor], Tensor]:
        model = self._causal_lm()
        return _with_scaling(model.get_output_embeddings(), model.config.get_text_config())

    def _banned(self) -> Int[Tensor, " K"]:
        return torch.tensor(self.renderer.banned_ids, dtype=torch.int64, device=self.device)

    def _completion_states(
        self, prompts: Sequence[EncodedPrompt], token_ids: Sequence[Int[Tensor, " T"]]
    ) -> Float[Tensor, "M H"]:
        positions = self.positions(prompts)
        if self.shares_prefix:
            return shared_prefix.completion_states(self._network(), prompts, token_ids, positions, device=self.device)
        batch = collate(prompts, token_ids, positions, pad_id=self.renderer.pad_id, side="right", device=self.device)
        hidden = self._network()(**batch, use_cache=False).last_hidden_state
        spans = [(len(p.input_ids) - 1, len(ids)) for p, ids in zip(prompts, token_ids, strict=True)]
        # A token is predicted by the state one place before it.
        return torch.cat([row[start : start + length] for row, (start, length) in zip(hidden, spans, strict=True)])

    def _check(self, prompts: Sequence[EncodedPrompt], token_ids: Sequence[Int[Tensor, " T"]]) -> None:
        if len(prompts) != len(token_ids) or not prompts:
            raise ValueError(f"score needs one prompt per completion, got {len(prompts)} and {len(token_ids)}")
        banned = torch.tensor(self.renderer.banned_ids)
        for prompt, ids in zip(prompts, token_ids, strict=True):
            found = ids[torch.isin(ids, banned)]
            if len(found):
                name = self.renderer.tokenizer.convert_ids_to_tokens(int(found[0]))
                raise ValueError(
                    f"a completion of sample {prompt.prompt.sample_id!r} holds the banned token {int(found[0])} "
                    f"({name}); placeholder, vision and role tokens have probability 0 and cannot be scored"
                )


def _frozen_names(policy: nn.Module) -> set[str]:
    return {name for name, parameter in policy.named_parameters() if not parameter.requires_grad}


def _leave_out_frozen(policy: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in _frozen_names(policy):
        state.pop(prefix + name, None)


def _forgive_frozen(policy: nn.Module, incompatible: Any) -> None:
    frozen, missing = _frozen_names(policy), incompatible.missing_keys  # these with the names of what holds the policy
    missing[:] = [key for key in missing if not any(f".{key}".endswith(f".{name}") for name in frozen)]


def _with_scaling(head: Any, config: Any) -> Callable[[Tensor], Tensor]:
    """Return the head with what some architectures do to its logits in their own forward."""
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    scale = getattr(config, "logit_scale", None) or 1.0  # Cohere
    scale = scale / (getattr(config, "logits_scaling", None) or 1.0)  # Granite
    if cap is None and scale == 1.0:
        return head

    def scaled(hidden: Tensor) -> Tensor:
        logits = head(hidden) * scale
        return logits if cap is None else torch.tanh(logits / cap) * cap

    return scaled


def _ragged_mask(lengths: Sequence[int], device: torch.device) -> Bool[Tensor, "N T"]:
    return torch.arange(max(lengths), device=device) < torch.tensor(lengths, device=device)[:, None]


def _scatter(values: Float[Tensor, " M"], mask: Bool[Tensor, "N T"]) -> Float[Tensor, "N T"]:
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
