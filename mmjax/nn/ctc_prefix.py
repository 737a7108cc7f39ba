"""The CTC probability of a text that grows by one token at a time, for joint decoding with an attention decoder."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int

from mmjax.types import Declared, Tokens

__all__ = ["CTCPrefix", "CTCPrefixState"]


class CTCPrefixState(NamedTuple):
    """The forward variables of a prefix g: log of the summed probability of all alignments of the first t frames to g, divided
    by the probability of g as a prefix, so that float32 is precise.

    after_label, after_blank: Float32[n + 1], r^n and r^b of the paper, of the alignments whose last label is that of g, or the
    blank; index t. last: Int[], the last token of g; the blank of the empty prefix.
    """

    after_label: Float[Array, " m"]
    after_blank: Float[Array, " m"]
    last: Int[Array, ""]

    @property
    def total(self) -> Float[Array, " m"]:
        return jnp.logaddexp(self.after_label, self.after_blank)


@struct.dataclass
class CTCPrefix:
    """CTC as a `PrefixScorer`: the scores of tokens sum to the log-probability of all texts with this prefix, and the end adds
    what is missing to log p(text | frames), `nn.ctc.ctc_log_probability` (Watanabe et al., 2017, "Hybrid CTC/attention
    architecture for end-to-end speech recognition", algorithm 2). Impossible tokens and the blank have score -inf.

    A prefix with one more token sums over the frame at which that token begins; whatever follows has probability 1. So all next
    tokens are scored at once, and only the chosen one needs new forward variables, a scan over frames.

    log_p: Float32[n v] in nats, of each frame. Masked frames come last and are blanks, which changes no probability. blank: its
    id. `CTCPrefix.of` makes one for each example of a batch; its arrays have a first dimension b.
    """

    log_p: Declared[Float[Array, "*b n v"]]
    blank: int = struct.field(pytree_node=False, default=0)

    @classmethod
    def of(cls, logits: Tokens, blank: int = 0) -> "CTCPrefix":
        """logits: of a CTC head, x [b n v]. Masked tokens are skipped and may be NaN."""
        order = jnp.argsort(~logits.mask, axis=1, stable=True)
        log_p = jax.nn.log_softmax(jnp.where(logits.mask[..., None], logits.x, 0).astype(jnp.float32))
        log_p, mask = jnp.take_along_axis(log_p, order[..., None], axis=1), jnp.take_along_axis(logits.mask, order, axis=1)
        only_blank = jnp.where(jnp.arange(log_p.shape[-1]) == blank, 0.0, -jnp.inf)
        return cls(jnp.where(mask[..., None], log_p, only_blank[None, None]), blank)

    def start(self) -> CTCPrefixState:
        after_blank = jnp.pad(jnp.cumsum(self.log_p[:, self.blank]), (1, 0))
        return CTCPrefixState(jnp.full_like(after_blank, -jnp.inf), after_blank, jnp.asarray(self.blank, jnp.int32))

    def scores(self, state: CTCPrefixState, vocabulary: int) -> Float[Array, " vocabulary"]:
        if vocabulary != self.log_p.shape[-1]:
            raise ValueError(f"the CTC head has {self.log_p.shape[-1]} token ids, but the decoder {vocabulary}")
        token = jnp.arange(vocabulary)
        other = jax.nn.logsumexp(state.total[:-1, None] + self.log_p, axis=0)
        again = jax.nn.logsumexp(state.after_blank[:-1] + self.log_p[:, state.last])  # a blank separates equal labels
        return jnp.where(token == self.blank, -jnp.inf, jnp.where(token == state.last, again, other))

    def end(self, state: CTCPrefixState) -> Float[Array, ""]:
        return state.total[-1]

    def advance(self, state: CTCPrefixState, token: Int[Array, ""]) -> CTCPrefixState:
        of_token = self.log_p[:, token]
        begins = jnp.where(token == state.last, state.after_blank, state.total)[:-1] + of_token  # at each frame
        prefix = jax.nn.logsumexp(begins)
        begins -= jnp.where(prefix > -jnp.inf, prefix, 0.0)

        def frame(before, given):
            (label, blank), (begins, of_token, of_blank) = before, given
            after = jnp.logaddexp(label + of_token, begins), jnp.logaddexp(label, blank) + of_blank
            return after, after

        impossible = jnp.full((), -jnp.inf)
        _, after = lax.scan(frame, (impossible, impossible), (begins, of_token, self.log_p[:, self.blank]))
        label, blank = (jnp.pad(x, (1, 0), constant_values=-jnp.inf) for x in after)
        return CTCPrefixState(label, blank, jnp.asarray(token, jnp.int32))
