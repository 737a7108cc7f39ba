"""A prefix tree of token sequences as arrays: built on the host, walked inside `jit`."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from mmjax.types import Declared

__all__ = ["ROOT", "Trie", "build_trie"]

ROOT = 0
"""The node of the empty sequence."""


@struct.dataclass
class Trie:
    """Nodes in order of depth; the children of a node are adjacent, in order of their tokens. A plain pytree.

    token: Int32[nodes], the last token of each node's sequence; -1 for the root. first, count: Int32[nodes], the first child of
    each node and the number of its children. fanout: the largest number of children.
    """

    token: Declared[Int[Array, " nodes"]]
    first: Declared[Int[Array, " nodes"]]
    count: Declared[Int[Array, " nodes"]]
    fanout: int = struct.field(pytree_node=False)

    def children(self, node: Int[Array, ""]) -> tuple[Int[Array, " f"], Int[Array, " f"]]:
        """(nodes, tokens) of the children, and (0, -1) in the places beyond their number."""
        place = jnp.arange(self.fanout, dtype=jnp.int32)
        valid = place < self.count[node]
        nodes = jnp.where(valid, self.first[node] + place, ROOT)
        return nodes, jnp.where(valid, self.token[nodes], -1)

    def child(self, node: Int[Array, ""], token: Int[Array, ""]) -> Int[Array, ""]:
        """The node of the sequence with one more token, or the root if there is none."""
        nodes, tokens = self.children(node)
        return jnp.max(jnp.where(tokens == token, nodes, ROOT))

    def spread(
        self, node: Int[Array, ""], values: Float[Array, " nodes"], default: Float[Array, " vocabulary"]
    ) -> Float[Array, " vocabulary"]:
        """`default` with the values of the node's children at their tokens. Tokens beyond the vocabulary are left out."""
        nodes, tokens = self.children(node)
        return default.at[jnp.where(tokens < 0, len(default), tokens)].set(values[nodes], mode="drop")


def build_trie(sequences: Iterable[tuple[int, ...]]) -> tuple[Trie, dict[tuple[int, ...], int]]:
    """(the trie of all sequences and their prefixes, {sequence: node})."""
    nodes = {()} | {sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)}
    index = {sequence: node for node, sequence in enumerate(sorted(nodes, key=lambda sequence: (len(sequence), sequence)))}
    first, count = np.zeros(len(index), np.int32), np.zeros(len(index), np.int32)
    for sequence, node in index.items():
        if sequence:
            parent = index[sequence[:-1]]
            first[parent] = node if count[parent] == 0 else first[parent]
            count[parent] += 1
    token = np.array([sequence[-1] if sequence else -1 for sequence in index], np.int32)
    return Trie(jnp.asarray(token), jnp.asarray(first), jnp.asarray(count), max(int(count.max()), 1)), index
