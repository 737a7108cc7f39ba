"""Information that two predictions carry about a label, and its decomposition into shared, unique and synergistic parts.

A joint table is P[a, b, y], the probability of the prediction a from one modality, b from another and the label y. With a
measure of redundancy, the mutual information I(Y; A, B) has four parts (Williams and Beer, 2010):

    redundancy    of A and B
    unique a      I(Y; A) - redundancy;      unique b likewise
    synergy       I(Y; A, B) - I(Y; A) - I(Y; B) + redundancy

`min_redundancy` is I_min of Williams and Beer, "Nonnegative decomposition of multivariate information", 2010.
`broja_redundancy` is the measure of Bertschinger, Rauh, Olbrich, Jost and Ay, "Quantifying unique information", Entropy 2014,
which Liang et al., "Quantifying & modeling multimodal interactions", NeurIPS 2023, use for unimodal predictions. Information is
in bits. Estimates from a table of counts are biased upwards, the more so the more cells it has.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mmjax.metrics.weighted import ratio
from mmjax.types import Metric, Outcomes

__all__ = [
    "LAST_SWEEPS", "MAX_CLASSES", "PARTS", "ROUNDS", "SWEEPS", "Redundancy", "broja_redundancy", "information_metrics",
    "joint_table", "min_redundancy", "mutual_information", "union_information",
]

MAX_CLASSES = 20  # the tables of more classes are large and mostly empty
PARTS = {  # {part: its coefficients of "redundancy", "a", "b" and "both"}
    "redundancy": (1, 0, 0, 0),
    "unique a": (-1, 1, 0, 0),
    "unique b": (-1, 0, 1, 0),
    "synergy": (1, -1, -1, 1),
    "total": (0, 0, 0, 1),
}
ROUNDS = 300  # of the alternating minimisation
SWEEPS = 3  # of the scaling inside a round
LAST_SWEEPS = 100  # so that the marginals are exact
Redundancy = Callable[[Float[Array, "a b y"]], Float[Array, ""]]


def joint_table(outcomes: Outcomes, weight: Float[Array, " u"], classes: int) -> Float[Array, "a b y"]:
    """P[a, b, y] from outcomes {"a", "b", "label": Int[u]}; the last a and b stand for predictions outside 0..classes-1."""
    code = lambda name: jnp.where((outcomes[name] >= 0) & (outcomes[name] < classes), outcomes[name], classes)
    table = jnp.zeros((classes + 1, classes + 1, classes))
    return ratio(table.at[code("a"), code("b"), outcomes["label"]].add(weight), jnp.sum(weight), jnp.nan)


def mutual_information(p: Float[Array, "x y"]) -> Float[Array, ""]:
    """I(X; Y) of a joint table, in bits."""
    return jnp.sum(p * _log2(p) - p * _log2(p.sum(1, keepdims=True)) - p * _log2(p.sum(0, keepdims=True)))


def min_redundancy(p: Float[Array, "a b y"]) -> Float[Array, ""]:
    """I_min, the expectation over labels of the smaller specific information of the two (Williams and Beer, 2010, eq. 3)."""
    of_label = p.sum((0, 1))

    def specific(joint):  # [x y] -> p(y) I(Y = y; X)
        return jnp.sum(joint * (_log2(joint) - _log2(joint.sum(1, keepdims=True)) - _log2(of_label)[None]), axis=0)

    return jnp.sum(jnp.minimum(specific(p.sum(1)), specific(p.sum(0))))


def broja_redundancy(p: Float[Array, "a b y"]) -> Float[Array, ""]:
    """I(Y; A) + I(Y; B) - the union information (Bertschinger et al., 2014)."""
    return mutual_information(p.sum(1)) + mutual_information(p.sum(0)) - union_information(p)


def union_information(p: Float[Array, "a b y"]) -> Float[Array, ""]:
    """The least I(Y; A, B) of all tables with the same marginals (A, Y) and (B, Y), in bits.

    It is min over Q and R of sum_y p(y) D(Q(a, b | y) || R(a, b)), found by alternating minimisation (Banerjee, Rauh and
    Montúfar, "Computing the unique information", ISIT 2018): R is the mean of the Q, and each Q is R scaled to its marginals,
    Q = R u(a, y) v(b, y). At the optimum, log u and log v are the Lagrange multipliers of the marginals, so they are the
    derivative of the result with respect to them; only this derivative is taken, not that of the iterations.
    """
    of_label = p.sum((0, 1))
    first, second = p.sum(1).T, p.sum(0).T  # [y a], [y b]
    a, b = (ratio(of, of_label[:, None]) for of in (first, second))

    def sweep(r, u, v):
        u = ratio(a, jnp.einsum("ab,yb->ya", r, v))
        return u, ratio(b, jnp.einsum("ab,ya->yb", r, u))

    def scaled(r, u, v, sweeps):
        return jax.lax.fori_loop(0, sweeps, lambda _, uv: sweep(r, *uv), (u, v))

    def round_(_, state):
        r, u, v = state
        u, v = scaled(r, u, v, SWEEPS)
        return jnp.einsum("y,ab,ya,yb->ab", of_label, r, u, v), u, v

    start = jnp.einsum("y,ya,yb->ab", of_label, a, b), jnp.ones_like(a), jnp.ones_like(b)
    r, u, v = jax.lax.fori_loop(0, ROUNDS, round_, jax.lax.stop_gradient(start))
    u, v = jax.lax.stop_gradient(scaled(r, u, v, LAST_SWEEPS))
    return jnp.sum(first * _log2(u)) + jnp.sum(second * _log2(v))


@cache
def information_metrics(redundancy: Redundancy, classes: int) -> dict[str, Metric]:
    """"redundancy", "a", I(Y; A), "b", I(Y; B), and "both", I(Y; A, B), of outcomes {"a", "b", "label"} (see `joint_table`)."""
    flat = lambda p: p.reshape(-1, classes)
    functions = {
        "redundancy": redundancy,
        "a": lambda p: mutual_information(p.sum(1)),
        "b": lambda p: mutual_information(p.sum(0)),
        "both": lambda p: mutual_information(flat(p)),
    }

    def of_table(function: Redundancy, outcomes: Outcomes, weight: Float[Array, " u"]) -> Float[Array, ""]:
        return function(joint_table(outcomes, weight, classes))

    return {name: Metric(partial(of_table, function), bounds=(None, None)) for name, function in functions.items()}


def _log2(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log2 x; 0, with gradient 0, where x is 0."""
    empty = x <= 0
    return jnp.where(empty, 0, jnp.log(jnp.where(empty, 1, x)) / math.log(2))
