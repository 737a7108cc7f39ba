"""Perceiver by its paper's numbers; tests/parity/test_fusions.py compares it with its definition in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.fusion.published_perceiver import PublishedPerceiver, fourier_features
from mmjax.types import Tokens


def tokens(count, width):
    return Tokens(jax.ShapeDtypeStruct((1, count, width), jnp.float32), jax.ShapeDtypeStruct((1, count), bool))


# Tables 5 and 7, in millions of parameters, with a linear layer to 1000 classes.
@pytest.mark.parametrize(
    ("fields", "millions"),
    [
        ({}, 44.9),
        ({"shared": False}, 326.2),
        ({"depth": 0, "shared": False}, 23.8),
        ({"depth": 0, "shared": False, "reads": 4}, 12.7),
    ],
)
def test_parameters_on_imagenet_are_those_of_the_paper(fields, millions):
    fusion = PublishedPerceiver(grids={"image": (224, 224)}, **fields)
    shapes = jax.eval_shape(fusion.init, jax.random.key(0), {"image": tokens(224 * 224, 3)})
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes)) + 1024 * 1000 + 1000
    assert round(count / 1e6, 1) == millions
    assert shapes["params"]["read0"]["attention"]["key"]["kernel"].shape == (261, 261)  # appendix C


def test_fourier_features_by_hand():
    """Of 2 x 3 cells, with frequencies 1 (1 to 2 / 2) of rows, and 1 and 1.5 (1 to 3 / 2) of columns."""
    found = np.asarray(fourier_features((2, 3), 2))
    assert found.shape == (6, 2 * (2 * 2 + 1))
    # Row 1 (x = 1), column 0 (x = -1): sin pi, sin pi, sin -pi, sin -1.5 pi; cos pi, cos pi, cos -pi, cos -1.5 pi.
    np.testing.assert_allclose(found[3], [1, -1, 0, 0, 0, 1, -1, -1, -1, 0], atol=1e-6)
    # Row 0 (x = -1), column 1 (x = 0).
    np.testing.assert_allclose(found[1], [-1, 0, 0, 0, 0, 0, -1, -1, 1, 1], atol=1e-6)


def test_one_modality_has_no_encoding_and_two_have_the_width_of_the_widest_plus_four():
    params = lambda inputs: jax.eval_shape(PublishedPerceiver(4, 8, 1, 1, 2, bands=1).init, jax.random.key(0), inputs)["params"]
    alone, both = params({"video": tokens(4, 5)}), params({"audio": tokens(3, 2), "video": tokens(4, 5)})
    assert not any("encoding" in name for name in alone)
    widths = {name: part.shape[-1] for name, part in both.items() if "encoding" in name}
    assert widths == {"audio_encoding": 3 + 4, "video_encoding": 4}  # section 4.2


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ({"image": (2, 3)}, r"PublishedPerceiver.grids has \(2, 3\) for 'image', which has 4 tokens"),
        ({"sound": (4,)}, r"PublishedPerceiver.grids is of \['sound'\]; its keys must be some of .* \['image'\]"),
    ],
)
def test_invalid_grids(grids, message):
    fusion = PublishedPerceiver(2, 4, 1, 1, 1, grids=grids)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(fusion.init, jax.random.key(0), {"image": tokens(4, 2)})
