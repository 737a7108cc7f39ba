"""The networks before the fusions of experiments/mmsa_mosi.py against MMSA's definitions in torch, with the same weights."""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.types import Padded

pytestmark = pytest.mark.parity
FILE = Path(__file__).parents[2] / "experiments" / "mmsa_mosi.py"
LENGTHS, DIRECTIONS = (7, 3, 5), {"forward": "", "backward": "_reverse"}


@pytest.fixture(scope="module")
def ours():
    return runpy.run_path(str(FILE))


def sequences(width):
    x = np.random.default_rng(0).normal(size=(3, 7, width)).astype(np.float32)
    x *= (np.arange(7) < np.array(LENGTHS)[:, None])[..., None]
    return x, Padded(jnp.asarray(x), jnp.asarray(LENGTHS))


def filled(module, *inputs):
    """Parameters whose values are random, so that none is at its initial zero or one."""
    variables, rng = module.init(jax.random.key(0), *inputs), np.random.default_rng(1)
    change = lambda leaf: leaf + jnp.asarray(rng.normal(size=leaf.shape).astype(np.float32)) * 0.3
    return variables | {"params": jax.tree.map(change, variables["params"])}


def copy(parameters, **arrays):
    import torch

    for name, array in arrays.items():
        getattr(parameters, name).data = torch.tensor(np.array(array))


def same(found, expected):
    expected = expected.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_misa_reads_a_sequence_by_two_layers(ours):
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    x, padded = sequences(2)
    module = ours["TwoLayers"]()
    variables = filled(module, padded)
    params = variables["params"]
    rnn1, rnn2 = torch.nn.LSTM(2, 2, bidirectional=True), torch.nn.LSTM(4, 2, bidirectional=True)
    norm = torch.nn.LayerNorm(4)
    copy(norm, weight=params["norm"]["scale"], bias=params["norm"]["bias"])
    for rnn, layer in ((rnn1, params["lstm0"]), (rnn2, params["lstm1"])):
        for name, suffix in DIRECTIONS.items():
            one, end = layer[name], f"l0{suffix}"
            copy(rnn, **{
                f"weight_ih_{end}": one["input"]["kernel"].T, f"weight_hh_{end}": one["recurrent"].T,
                f"bias_ih_{end}": one["input"]["bias"], f"bias_hh_{end}": np.zeros(8, np.float32),
            })  # fmt: skip
    pack = lambda steps: pack_padded_sequence(steps, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    states, (first, _) = rnn1(pack(torch.tensor(x)))
    between = norm(pad_packed_sequence(states)[0].permute(1, 0, 2))
    _, (second, _) = rnn2(pack(between))
    # MISA joins [direction b 2 h]; a dense layer follows, so the order of the parts is free: ours has both layers one by one.
    expected = torch.cat([*first, *second], dim=1)
    same(module.apply(variables, padded).x[:, 0], expected)


def test_subnet(ours):
    import torch

    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    module = ours["SubNet"](4, dropout=0.0)
    variables = filled(module, jnp.asarray(x))
    params, norm = variables["params"], torch.nn.BatchNorm1d(5)
    copy(norm, weight=params["norm"]["scale"], bias=params["norm"]["bias"])
    y = norm(torch.tensor(x))
    for layer in range(3):
        dense = params[f"dense{layer}"]
        y = torch.relu(y @ torch.tensor(np.array(dense["kernel"])) + torch.tensor(np.array(dense["bias"])))
    found, _ = module.apply(variables, jnp.asarray(x), train=True, mutable=["batch_stats"])
    same(found.x[:, 0], y)


def test_mult_projects_by_a_convolution(ours):
    import torch

    x, padded = sequences(3)
    module = ours["Convolved"](4)
    variables = filled(module, padded)
    kernel = np.array(variables["params"]["conv"]["kernel"])[0]  # [5 3 4]
    expected = torch.nn.functional.conv1d(torch.tensor(x.transpose(0, 2, 1)), torch.tensor(kernel.transpose(2, 1, 0)))
    tokens = module.apply(variables, padded)
    same(tokens.x, expected.transpose(1, 2))
    assert tokens.mask.sum(axis=1).tolist() == [3, 3, 3]
