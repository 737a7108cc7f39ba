"""HotFlip: substitutes tokens by the gradient of the loss, and verifies each substitution by the loss itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mmjax.robust.attacks import active, better, live
from mmjax.robust.budgets import require
from mmjax.robust.embeddings import MixedTokens, check_token_ids
from mmjax.types import Batch, Padded, Values

__all__ = ["HotFlip", "Substitutions", "estimates"]


@dataclass(frozen=True)
class Substitutions:
    """Some tokens of an example are replaced by others; their number stays the same.

    In an experiment, vocabulary and keep come from the tokenizer of the data if they are None. Elsewhere, name them, or use
    `robust.special_tokens`.

    count: the largest number of replaced tokens. vocabulary: the number of token ids of the tokenizer. candidates:
    substitutions that are tried by their loss, of those with the highest estimate. keep: ids that neither replace nor are
    replaced; None for the special tokens of the tokenizer, such as padding, unknown, [CLS] and [SEP].
    """

    count: int
    vocabulary: int | None = None
    candidates: int = 8
    keep: tuple[int, ...] | None = None

    def __post_init__(self):
        require(self.count >= 0, f"Substitutions.count is {self.count}; it must be at least 0")
        require(self.candidates > 0, f"Substitutions.candidates is {self.candidates}; it must be positive")
        if self.vocabulary is None:
            return
        require(self.vocabulary > 0, f"Substitutions.vocabulary is {self.vocabulary}; it must be positive")
        known = all(0 <= token < self.vocabulary for token in self.keep or ())
        require(known, f"Substitutions.keep is {self.keep}; ids must be at least 0 and below vocabulary, {self.vocabulary}")

    @property
    def empty(self) -> bool:
        return self.count == 0

    def check(self, x: Any) -> None:
        check_token_ids("Substitutions", x)
        known = self.empty or (self.vocabulary is not None and self.keep is not None)
        require(known, "Substitutions has no vocabulary or keep; name both, since only an experiment finds them in its data")


@dataclass(frozen=True)
class HotFlip:
    """Gradient-guided substitution of tokens (Ebrahimi et al., ACL 2018), one after the other.

    The first-order estimate for token v at step n is the difference of the loss's derivatives by the one-hot entries v and
    that of the present token (equation 2). The candidates of highest estimate are tried; the best one replaces the token if
    it raises the loss. A step is replaced once. No randomness is used.

    budgets: {modality: Substitutions}. The encoder of the modality must be `robust.embeddings.SoftTokens(encoder)`.
    """

    budgets: Mapping[str, Any]

    def __call__(self, values: Values, batch: Batch, key: Key[Array, ""]) -> Batch:
        del key
        for name, budget in active(self.budgets, batch, Substitutions, "Substitutions").items():
            batch = _substituted(values, batch, name, budget)
        return batch


def _substituted(values: Values, batch: Batch, name: str, budget: Substitutions) -> Batch:
    """The batch after at most `count` substitutions in one modality."""
    ids: Padded = batch.inputs[name]
    with_ids = lambda x: batch.replace(inputs={**batch.inputs, name: ids.replace(x=x)})
    kept = jnp.asarray(budget.keep, ids.x.dtype)
    free = ids.mask & live(batch, name)[:, None]
    token = jnp.arange(budget.vocabulary)[None, None]

    def one(_, state):
        x, loss, replaced = state
        estimate, fixed = estimates(values, batch, name, x, budget.vocabulary), jnp.isin(x, kept)
        allowed = (free & ~replaced & ~fixed)[..., None] & ~jnp.isin(token, kept) & (token != x[..., None])
        scores = jnp.where(allowed & ~jnp.isnan(estimate), estimate, -jnp.inf).reshape(len(x), -1)
        score, chosen = jax.lax.top_k(scores, min(budget.candidates, scores.shape[1]))

        def attempt(best, candidate):
            score, place = candidate
            here = (place // budget.vocabulary)[:, None] == jnp.arange(x.shape[1])[None]
            tried = jnp.where(here, (place % budget.vocabulary)[:, None].astype(x.dtype), x)
            loss = jnp.where(score > -jnp.inf, values(with_ids(tried)), -jnp.inf)
            return better((tried, loss), best), None

        (new, loss), _ = jax.lax.scan(attempt, (x, loss), (score.T, chosen.T))
        return new, loss, replaced | (new != x)

    start = (ids.x, values(batch), jnp.zeros(ids.x.shape, bool))
    return with_ids(jax.lax.fori_loop(0, budget.count, one, start)[0])


def estimates(values: Values, batch: Batch, name: str, x: Int[Array, "b n"], vocabulary: int) -> Float[Array, "b n v"]:
    """The first-order change of each example's loss if token v replaced that of step n."""
    one_hot = jax.nn.one_hot(x, vocabulary)

    def total(weight):
        mixed = MixedTokens(batch.inputs[name].replace(x=x), weight)
        return jnp.sum(values(batch.replace(inputs={**batch.inputs, name: mixed})))

    slope = jax.grad(total)(one_hot)
    return slope - jnp.sum(slope * one_hot, axis=-1, keepdims=True)
