"""The contract of a decoder: rows of completions that wait for their next token."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Decoder(ABC):
    """Rows that grow by one token at a time, each the continuation of one of the prompts the decoder was made for."""

    @abstractmethod
    def room(self, owners: Sequence[int]) -> int:
        """Return how many of the rows that wait can be added now.

        Args:
            owners: Index of the prompt of each row that waits, in the order in which they will be added.
        """

    @abstractmethod
    def add(self, owners: Sequence[int]) -> Float[Tensor, "R V"]:
        """Append rows without any token and return the logits of their first ones.

        Prompts that are not stored yet pass through the model, once for all of their rows.
        """

    @abstractmethod
    def keep(self, running: Bool[Tensor, " N"], waiting: Sequence[int]) -> Int[Tensor, " R"]:
        """Drop rows, and prompts that neither a row nor one that waits continues.

        Args:
            running: Rows to keep.
            waiting: Prompts of the rows that are still to be added.

        Returns:
            Former index of every row that is left; the order may change.
        """

    @abstractmethod
    def advance(self, tokens: Int[Tensor, " N"]) -> Float[Tensor, "N V"]:
        """Append one token to each row and return the logits of the one after it, valid until the next call."""
