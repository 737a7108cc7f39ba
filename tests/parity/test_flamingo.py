"""Gated cross-attention against the paper's pseudocode in torch, in front of the layers of transformers' Llama.

torch and transformers are imported within functions, so that the file can always be collected.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import Flamingo, LastImage
from mmjax.nn.search import greedy
from mmjax.pretrained import load
from mmjax.types import Padded, Tokens
from tests.parity.originals import assert_same, randomised

pytestmark = pytest.mark.parity

VOCABULARY, MARKER, END = 40, 38, 39
# (width, depth, heads and hidden units of the language model; distance, heads and hidden units of gated layers; images)
CASES = {
    "every_block": ((12, 2, 3, 20), 1, 2, 10, None),
    "every_second": ((8, 3, 2, 9), 2, 4, 16, None),
    "last_image": ((16, 2, 4, 24), 2, 2, 8, LastImage(MARKER, 3)),
}
IDS = np.array([[3, MARKER, 5, 6, MARKER, 7, 2], [MARKER, 9, 4, 2, 11, 0, 0], [4, 5, 6, 7, 0, 0, 0]])
LENGTH = np.array([7, 5, 4])
VALID = np.arange(7)[None] < LENGTH[:, None]
PRESENT = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)  # two images of three vectors each


def seen_by(images):
    """[text, token, vector]: of all images, or of the last one, counted in a loop."""
    seen = np.repeat(PRESENT[:, None], IDS.shape[1], axis=1)
    if images is not None:
        for text, ids in enumerate(IDS):
            last = 0
            for token, number in enumerate(ids):
                last += number == MARKER
                for vector in range(PRESENT.shape[1]):
                    seen[text, token, vector] &= vector // 3 == last - 1
    return seen


def gated_xattn_dense(y, x, w, heads, seen):
    """Figure 4: y + tanh(alpha_xattn) attention(q=y, kv=x), then y + tanh(alpha_dense) ffw(y), with layer norms before both.

    w: weights by name. Each token attends to the vectors that it sees, one by one.
    """
    import torch

    norm = lambda name: torch.nn.functional.layer_norm(y, y.shape[-1:], w[f"{name}/scale"], w[f"{name}/bias"], 1e-5)
    split = lambda z: z.reshape(*z.shape[:-1], heads, -1)
    q, k, v = split(norm("norm1") @ w["query/kernel"]), split(x @ w["key/kernel"]), split(x @ w["value/kernel"])
    rows = []
    for text in range(len(y)):
        for token in range(y.shape[1]):
            own = torch.tensor(np.flatnonzero(seen[text, token]))
            if not len(own):
                rows.append(torch.zeros_like(y[0, 0]))
                continue
            scores = torch.einsum("hk,mhk->hm", q[text, token], k[text, own]) / q.shape[-1] ** 0.5
            rows.append(torch.einsum("hm,mhk->hk", scores.softmax(-1), v[text, own]).reshape(-1))
    attended = torch.stack(rows).reshape(y.shape) @ w["out/kernel"]
    y = y + torch.tanh(w["gate1"]) * attended
    hidden = torch.relu(norm("norm2") @ w["up/kernel"]) ** 2
    return y + torch.tanh(w["gate2"]) * (hidden @ w["down/kernel"])


def llama(width, depth, heads, hidden):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=hidden,
        num_key_value_heads=1, max_position_embeddings=32, bos_token_id=1, eos_token_id=END, pad_token_id=0,
    )  # fmt: skip
    return randomised(LlamaForCausalLM(config)).eval()


@pytest.mark.parametrize("case", CASES)
def test_logits_gradients_and_steps(case, tmp_path):
    import torch
    from flax.traverse_util import flatten_dict

    sizes, every, heads, hidden, images = CASES[case]
    original = llama(*sizes)
    original.save_pretrained(tmp_path)
    weights = load(tmp_path)
    model = Flamingo(weights.module, every, heads, hidden, images=images)
    random = np.random.default_rng(0)
    x = random.normal(size=(3, PRESENT.shape[1], 5)).astype(np.float32)
    ids, memory = Padded(jnp.asarray(IDS), jnp.asarray(LENGTH)), Tokens(jnp.asarray(x), jnp.asarray(PRESENT))
    shapes = jax.eval_shape(model.init, jax.random.key(0), ids, memory)["params"]
    params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)
    params["language"] = jax.tree.map(np.asarray, weights.variables["params"])

    their_x, seen = torch.tensor(x, requires_grad=True), seen_by(images)
    for number in range(0, sizes[1], every):
        w = {name: torch.tensor(leaf) for name, leaf in flatten_dict(params[f"cross{number}"], sep="/").items()}
        hook = lambda layer, given, w=w: (gated_xattn_dense(given[0], their_x, w, heads, seen), *given[1:])
        original.model.layers[number].register_forward_pre_hook(hook)
    expected = original(torch.tensor(IDS), attention_mask=torch.tensor(VALID.astype(int))).logits
    weight = torch.tensor(random.normal(size=expected.shape).astype(np.float32) * VALID[..., None])
    (expected * weight).sum().backward()

    @jax.jit
    def run(x):
        logits = model.apply({"params": params}, ids, memory.replace(x=x))
        return (logits * weight.numpy()).sum(), logits

    spoiled = jnp.where(memory.mask[..., None], memory.x, jnp.nan)
    (_, logits), gradient = jax.value_and_grad(run, has_aux=True)(spoiled)
    assert_same(np.asarray(logits)[VALID], expected.detach().numpy()[VALID], "logits")
    assert_same(gradient, their_x.grad.numpy(), "gradient by the vectors")
    assert not np.asarray(gradient)[~PRESENT].any()

    step = lambda ids, cache: model.apply({"params": params}, ids, cache, method="step")
    cache = model.apply({"params": params}, memory, IDS.shape[1] + 1, method="init_cache")
    found = greedy(step, cache, ids, 1, END).x[:, 0]
    assert found.tolist() == expected.detach().numpy()[np.arange(3), LENGTH - 1].argmax(-1).tolist()
