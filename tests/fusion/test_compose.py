"""Composed fusions equal their parts, applied one after another."""

import dataclasses
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from mmjax.fusion.compose import Append, Only, Parallel, Serial
from mmjax.fusion.joint import GMU, Concat, Product, WeightedSum
from mmjax.types import Tokens
from tests.fusion.tokens import apply, check_finite, random_params, tokens_of


def composed(fusion, modalities=3):
    tokens = tokens_of(modalities)
    params = random_params(fusion, tokens)
    return tokens, params, apply(fusion, params, tokens)


def equal(a: Tokens, b: Tokens):
    chex.assert_trees_all_close(a.x, b.x, atol=1e-6)
    np.testing.assert_array_equal(a.mask, b.mask)


def test_serial():
    tokens, params, fused = composed(Serial(("text", "image"), GMU(5), Concat(6)))
    pair = apply(GMU(5), params["first"], {name: tokens[name] for name in ("image", "text")})
    equal(fused, apply(Concat(6), params["then"], {"image_text": pair, "audio": tokens["audio"]}))
    assert not pair.mask[-2:].any()  # both are absent, so the pair is absent in the second fusion
    assert fused.mask[-2] and not fused.mask[-1]


def test_serial_in_three_stages():
    fusion = Serial(("image",), Concat(4), Serial(("audio", "image"), GMU(5), Product(6)))
    tokens, params, fused = composed(fusion)
    image = apply(Concat(4), params["first"], {"image": tokens["image"]})
    pair = apply(GMU(5), params["then"]["first"], {"image": image, "audio": tokens["audio"]})
    equal(fused, apply(Product(6), params["then"]["then"], {"audio_image": pair, "text": tokens["text"]}))


def test_parallel_and_only():
    branches = {"all": Product(5), "pair": Only(("audio", "text"), WeightedSum(4))}
    tokens, params, fused = composed(Parallel(branches, Concat(6)))
    left = apply(Product(5), params["branches_all"], tokens)
    right = apply(WeightedSum(4), params["branches_pair"]["fusion"], {name: tokens[name] for name in ("audio", "text")})
    equal(fused, apply(Concat(6), params["then"], {"all": left, "pair": right}))


def test_hybrid_with_append():
    serial = Serial(("image", "text"), GMU(5), Concat(4))
    tokens, params, fused = composed(Parallel({"product": Product(4), "chain": serial}, Append()))
    parts = [apply(serial, params["branches_chain"], tokens), apply(Product(4), params["branches_product"], tokens)]
    equal(fused, Tokens(jnp.concatenate([t.x for t in parts], axis=1), jnp.concatenate([t.mask for t in parts], axis=1)))
    assert fused.x.shape == (8, 2, 4)


@pytest.mark.parametrize(
    "fusion",
    [Serial(("text",), GMU(5), Concat(6)), Parallel({"a": Product(5), "b": Only(("text",), GMU(4))}, Concat(6))],
    ids=["serial", "parallel"],
)
def test_one_modality_and_zeros(fusion):
    tokens, _, fused = composed(fusion, 1)
    assert fused.x.shape == (2, 1, 6)
    np.testing.assert_array_equal(fused.mask, tokens["text"].mask)
    check_finite(fusion)


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (Only(("image", "lidar"), GMU()), r"Only.names is \('image', 'lidar'\).*\['audio', 'image', 'text'\]"),
        (Only((), GMU()), r"Only.names is \(\); it must contain one or more"),
        (Serial(("sound",), GMU(), Concat()), r"Serial.names is \('sound',\).*\['audio', 'image', 'text'\]"),
        (Parallel({}, Concat()), r"Parallel.branches is empty"),
        (Parallel({"a": GMU(3), "b": GMU(4)}, Append()), r"tokens of equal width, but the widths are \{'a': 3, 'b': 4\}"),
    ],
)
def test_errors_name_the_field(fusion, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(fusion.init, jax.random.key(0), tokens_of(3))


def test_the_name_of_the_result_must_be_unused():
    tokens = tokens_of(3)
    tokens["image_text"] = tokens["audio"]
    with pytest.raises(ValueError, match=r"Serial.names are fused into 'image_text'"):
        jax.eval_shape(Serial(("image", "text"), GMU(), Concat()).init, jax.random.key(0), tokens)


@dataclasses.dataclass(frozen=True)
class Settings:
    fusion: nn.Module


def test_nested_fields_are_flags():
    pair = Serial(("image", "text"), GMU(5), Concat(4))
    default = Settings(Parallel({"all": Product(5), "pair": pair}, Concat(6)))
    args = ["--fusion.branches.pair.first.width", "7", "--fusion.then.width", "8", "--fusion.branches.all.dropout", "0.5"]
    parsed: Any = tyro.cli(Settings, default=default, args=args).fusion
    assert parsed.branches["pair"] == Serial(("image", "text"), GMU(7), Concat(4))
    assert (parsed.branches["all"], parsed.then) == (Product(5, dropout=0.5), Concat(8))
