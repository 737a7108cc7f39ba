"""The loss of connectionist temporal classification (Graves et al., 2006)."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.losses.criteria import is_integer
from mmjax.nn.ctc import ctc_log_probability, labels_before_end
from mmjax.types import Tokens

__all__ = ["CTC"]


@dataclass(frozen=True)
class CTC:
    """- log p(text | tokens) in nats, summed over all alignments; the criterion of `heads.TokenLogits` (Graves et al., 2006).

        On("text", CTC())

    output: Tokens with logits [b n vocabulary]. target: Int[b m], the token ids of a text; those from the first end token or -1
    on are ignored.

    The value is 0 if the target is missing (it starts with -1), or if no token of the output is valid, as when all modalities
    are absent. A text needs as many valid tokens as it has ids, and one more for each pair of equal ids in a row; with fewer,
    the value is infinite and its gradient 0.

    blank: the id of the blank and of the end token of targets. per_id: divide by the number of ids in the text (at least 1), so
    that long texts do not dominate. zero_infinity: 0 instead of infinity, so that texts that do not fit are left out.
    ValueError if the output is not Tokens or the target has other dimensions.
    """

    blank: int = 0
    per_id: bool = False
    zero_infinity: bool = False

    def __call__(self, output: Any, target: Any) -> Float[Array, " b"]:
        if not isinstance(output, Tokens) or not is_integer(target) or target.ndim != 2:
            given = "Tokens" if isinstance(output, Tokens) else f"an output of shape {output.shape}"
            raise ValueError(
                f"CTC cannot compare {given} with a target {target.dtype}{target.shape}: give the Tokens of "
                "heads.TokenLogits and a target Int[b m] of token ids"
            )
        labels, count = labels_before_end(target, self.blank)
        log_probability = ctc_log_probability(output.x, output.mask, labels, count, self.blank)
        valid = (target[:, 0] >= 0) & output.mask.any(axis=1)
        if self.zero_infinity:
            valid &= log_probability > -jnp.inf
        nats = jnp.where(valid, -log_probability, 0)
        return nats / jnp.maximum(count, 1) if self.per_id else nats
