"""APGD and Square against a second derivation of each step in NumPy, from the algorithms of the papers, one example at a time.

The loss and its gradient are written twice too. Square gets the same random draws, and its first change.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.robust.apgd import APGD
from mmjax.robust.budgets import L2, Linf
from mmjax.robust.square import Square, first
from mmjax.shards import example_keys
from tests.robust.targets import batch_of

KEY = jax.random.key(11)
EXAMPLES, STEPS = 5, 24
IMAGE = (10, 8, 2)  # rows, columns, channels
LOW, HIGH = 0.0, 1.0


def directions(size):
    random = np.random.default_rng(size)
    return random.normal(size=size), random.normal(size=size)


def loss(batch):
    """sin(3 u . x) + cos(2 v . x) + x . x / 10, with many optima."""
    x = batch.inputs["x"].reshape(len(batch.weight), -1)
    u, v = (jnp.asarray(w, jnp.float32) / np.sqrt(x.shape[1]) for w in directions(x.shape[1]))
    return jnp.sin(3 * x @ u) + jnp.cos(2 * x @ v) + jnp.sum(x * x, axis=1) / 10


def value(x):
    u, v = (w / np.sqrt(x.size) for w in directions(x.size))
    return np.sin(3 * x @ u) + np.cos(2 * x @ v) + x @ x / 10


def slope(x):
    u, v = (w / np.sqrt(x.size) for w in directions(x.size))
    return 3 * np.cos(3 * x @ u) * u - 2 * np.sin(2 * x @ v) * v + x / 5


# APGD, algorithm 1 of Croce and Hein (2020), and its projections.


def in_linf(x, point, epsilon):
    return np.clip(np.clip(point, x - epsilon, x + epsilon), LOW, HIGH)


def in_l2(x, point, epsilon):
    length = np.linalg.norm(point - x)
    return x + (point - x) * min(1, epsilon / length) if length > 0 else x


GEOMETRY = {
    "linf": (Linf(0.3, LOW, HIGH), in_linf, lambda g, epsilon: epsilon * np.sign(g)),
    "l2": (L2(0.9), in_l2, lambda g, epsilon: epsilon * g / np.linalg.norm(g)),
}


def apgd(x, epsilon, project, steepest):
    """(the point of highest loss, how often the step size was halved)."""
    share = [0.0, 0.22]
    while share[-1] < 1:
        share.append(share[-1] + max(share[-1] - share[-2] - 0.03, 0.06))
    decisions = {int(np.ceil(p * STEPS - 1e-9)) for p in share[1:]}
    size, halvings = 2.0, 0  # eta is twice the budget
    points, since = [x], [value(x)]  # since: the losses since the last decision
    best, highest = x, since[0]
    last, at_last = 0, (size, highest)
    for k in range(STEPS):
        here = points[-1]
        z = project(x, here + steepest(slope(here), size * epsilon), epsilon)
        momentum = here + 0.75 * (z - here) + 0.25 * (here - points[-2]) if k else z
        new = project(x, momentum, epsilon)
        points.append(new)
        since.append(value(new))
        if since[-1] > highest:
            best, highest = new, since[-1]
        if k + 1 in decisions and k + 1 < STEPS:
            rises = sum(b > a for a, b in pairwise(since))
            stuck = at_last == (size, highest)
            at_last = (size, highest)
            if rises < 0.75 * (k + 1 - last) or stuck:
                size, halvings = size / 2, halvings + 1
                points[-1], since[-1] = best, highest
            last, since = k + 1, since[-1:]
    return best, halvings


@pytest.mark.parametrize("name", GEOMETRY)
def test_apgd_follows_algorithm_1(name):
    budget, project, steepest = GEOMETRY[name]
    x = np.random.default_rng(3).uniform(size=(EXAMPLES, 12))
    batch = batch_of(x=x.astype(np.float32))
    attack = APGD({"x": budget}, steps=STEPS, random_start=False)
    found = np.asarray(jax.jit(lambda batch: attack(loss, batch, KEY).inputs["x"])(batch))
    expected, halvings = zip(*(apgd(one, budget.epsilon, project, steepest) for one in x))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert len(set(halvings)) > 1, halvings  # examples decide by themselves
    assert all(value(b) > value(a) + 0.05 for a, b in zip(x, expected))


# Square, algorithms 1 to 3 of Andriushchenko et al. (2020).


def halved_share(query, queries):
    """p of the authors' schedule, given for 10,000 queries."""
    iteration = int(query * 10_000 / queries)
    return 0.8 / 2 ** sum(iteration > at for at in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000))


def hill(rows, columns):
    """Equation 2: the sum of 1 / m^2 from the distance to the centre plus one to half of the longer side plus one."""
    largest, out = max(rows, columns) // 2, np.zeros((rows, columns))
    for r in range(rows):
        for c in range(columns):
            distance = max(abs(r - rows // 2), abs(c - columns // 2))
            out[r, c] = sum(1 / m**2 for m in range(distance + 1, largest + 2))
    return out / np.linalg.norm(out)


def bright_and_dark(side):
    both = np.concatenate([hill(side // 2, side), -hill(side - side // 2, side)])
    return both / np.linalg.norm(both)


def window_at(key, side):
    """The slices of a window at the drawn place."""
    free = jnp.array([IMAGE[0] - side, IMAGE[1] - side])
    r, c = map(int, jax.random.randint(key, (2,), 0, free + 1))
    return slice(r, r + side), slice(c, c + side)


def linf_proposal(key, change, share, epsilon):
    place, sign = jax.random.split(key)
    side = min(max(round(np.sqrt(share * IMAGE[0] * IMAGE[1])), 1), *IMAGE[:2])
    new = change.copy()
    new[window_at(place, side)] = epsilon * np.asarray(jax.random.rademacher(sign, (IMAGE[2],)), float)
    return new


def l2_proposal(key, change, share, epsilon):
    one_key, two_key, sign_key, turn = jax.random.split(key, 4)
    side = min(max(round(np.sqrt(share * IMAGE[0] * IMAGE[1])), 3), *IMAGE[:2])
    one, two = window_at(one_key, side), window_at(two_key, side)
    pattern = bright_and_dark(side)
    pattern = pattern.T if bool(jax.random.bernoulli(turn)) else pattern
    signs = np.asarray(jax.random.rademacher(sign_key, (IMAGE[2],)), float)
    unused = max(epsilon**2 - np.square(change).sum(), 0)
    union = np.zeros(IMAGE[:2], bool)
    union[one] = union[two] = True
    new = change.copy()
    new[two] = 0
    for channel in range(IMAGE[2]):
        norm = np.linalg.norm(change[..., channel][one])
        step = signs[channel] * pattern + (change[..., channel][one] / norm if norm > 0 else 0)
        available = np.sqrt(np.square(change[..., channel][union]).sum() + unused / IMAGE[2])
        new[..., channel][one] = step / np.linalg.norm(step) * available
    return new * min(1, epsilon / np.linalg.norm(new))


@pytest.mark.parametrize(
    "budget, proposal", [(Linf(0.2, LOW, HIGH), linf_proposal), (L2(1.5, LOW, HIGH), l2_proposal)], ids=["linf", "l2"]
)
def test_square_follows_algorithms_1_to_3(budget, proposal):
    queries, count = 20, 2
    x = np.random.default_rng(4).uniform(size=(count, *IMAGE))
    batch = batch_of(x=x.astype(np.float32))
    attack = Square({"x": budget}, queries=queries)
    found = np.asarray(jax.jit(lambda batch: attack(loss, batch, KEY).inputs["x"])(batch))
    of_query = lambda query: example_keys(jax.random.fold_in(jax.random.fold_in(KEY, query), 0), count)
    keys = jax.jit(jax.vmap(of_query))(jnp.arange(queries))
    starts = np.asarray(jax.jit(lambda keys: first(budget, batch.inputs["x"], keys))(keys[0]), np.float64)
    accepted = 0
    for example in range(count):
        clip = lambda change, example=example: np.clip(x[example] + change, LOW, HIGH) - x[example]
        change = starts[example]
        best = value((x[example] + change).ravel())
        for query in range(1, queries):
            new = clip(proposal(keys[query, example], change, halved_share(query, queries), budget.epsilon))
            if value((x[example] + new).ravel()) > best:
                change, best, accepted = new, value((x[example] + new).ravel()), accepted + 1
        np.testing.assert_allclose(found[example], x[example] + change, atol=1e-4)
    assert accepted > 2 * count
