"""The searches of `Generate` around a decoder that is a Markov chain."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.nn.prefix_scores import Lexicon
from mmjax.nn.rules import Suppress
from mmjax.nn.sample import sample
from mmjax.tasks.search import Beam, Greedy, JointBeam, Sample
from mmjax.types import Tokens

END, PROMPT, ROWS = 0, (1,), 3
LOGITS = jnp.log(jnp.array([[1, 0.0, 0, 0], [0.1, 0, 0.5, 0.4], [0.4, 0, 0.3, 0.3], [0.9, 0.1, 0, 0]]))
TOKENS = {"image": Tokens(jnp.zeros((ROWS, 1, 1)), jnp.ones((ROWS, 1), bool))}


def apply(*given, method):
    """The model of a task. The cache is not needed."""
    if method == "prompt_and_end":
        return PROMPT, END
    return 0 if method == "init_cache" else (LOGITS[given[1]], given[2])


def texts(search):
    return np.asarray(jax.jit(lambda: search(apply, "caption", TOKENS, {}))()).tolist()


@pytest.mark.parametrize(
    ("search", "text"),
    [
        (Greedy(3), [2, -1, -1]),  # 2 (0.5), then the end (0.4)
        (Greedy(3, rule=Suppress((2,))), [3, -1, -1]),
        (Beam(1, 3, rule=Suppress((2,)), early_stopping=True), [3, -1, -1]),
        (Beam(1, 3, scorer=partial(Lexicon.of, ((3,),))), [3, -1, -1]),
        (Beam(1, 3, scorer=partial(Lexicon.of, ((3,), (2, 2)))), [2, 2, -1]),  # not [2], although the end has 0.4 and 2 has 0.3
        (Sample(3, temperature=1e-3), [2, -1, -1]),
        (Sample(3, top_k=1, rule=Suppress((2,))), [3, -1, -1]),
    ],
    ids=["greedy", "greedy_rule", "beam_rule", "beam_word", "beam_lexicon", "cold_sample", "sample_rule"],
)
def test_texts(search, text):
    assert texts(search) == [text] * ROWS


def test_samples_are_those_of_the_seed():
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(5), jnp.arange(ROWS))
    found = sample(lambda ids, cache: (LOGITS[ids], cache), 0, jnp.ones((ROWS, 1), jnp.int32), 8, END, keys)
    assert texts(Sample(8, seed=5)) == np.where(found.mask, found.x, -1).tolist() != texts(Sample(8, seed=6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Beam(early_stopping="soon"), 'Beam.early_stopping is \'soon\'; it must be "never", False or True'),
        (lambda: JointBeam("ctc", 1.5), "JointBeam.weight is 1.5; it must be 0 to 1"),
        (lambda: Sample(temperature=0.0), "Sample.temperature is 0.0; it must be above 0"),
        (lambda: Sample(top_p=2.0), "Sample.top_p is 2.0; it must be 0 to 1, or None"),
        (lambda: Sample(top_k=0), "Sample.top_k is 0; it must be a positive integer"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
