"""Layers of the definitions, with our parameters as trees of tensors."""

import torch
from torch import nn
from torch.nn import functional as F


def dense(p, x):
    return F.linear(x, p["kernel"].T, p.get("bias"))


def norm(p, x, epsilon=1e-5):
    return F.layer_norm(x, x.shape[-1:], p["scale"], p["bias"], epsilon)


def vectors(x):
    return {name: value[:, 0] for name, value in x.items()}


def one_first(x):
    """[1; x], as in the authors' code; ours is [x; 1]."""
    return torch.cat([torch.ones(len(x), 1), x], dim=1)


def attention(p, x, context, heads, mask=None):
    """fairseq's: queries are scaled, the mask is added."""
    split = lambda y: y.unflatten(-1, (heads, -1)).transpose(1, 2)
    q, k, v = split(dense(p["query"], x)), split(dense(p["key"], context)), split(dense(p["value"], context))
    q = q * q.shape[-1] ** -0.5
    scores = q @ k.transpose(-1, -2)
    weights = (scores if mask is None else scores + mask).softmax(dim=-1)
    return dense(p["out"], (weights @ v).transpose(1, 2).flatten(2))


def perceptron(p, name, x):
    return dense(p[f"{name}_down"], F.relu(dense(p[f"{name}_up"], x)))


def cell(inputs, recurrent):
    """torch's LSTM cell with our weights."""
    recurrent = recurrent.T
    lstm = nn.LSTMCell(inputs["kernel"].shape[0], recurrent.shape[1])
    weights = {"weight_ih": inputs["kernel"].T, "weight_hh": recurrent, "bias_ih": inputs["bias"]}
    return lambda x, state: torch.func.functional_call(lstm, weights | {"bias_hh": torch.zeros(len(recurrent))}, (x, state))


def gru(p, x):
    """torch's bidirectional GRU with our weights: states [b n 2 h]."""
    size = len(p["forward"]["recurrent"])
    layer, weights = nn.GRU(x.shape[-1], size, batch_first=True, bidirectional=True), {}
    for side, suffix in (("forward", "l0"), ("backward", "l0_reverse")):
        q = p[side]
        weights |= {f"weight_ih_{suffix}": q["input"]["kernel"].T, f"weight_hh_{suffix}": q["recurrent"].T}
        second = torch.cat([torch.zeros(2 * size), q["recurrent_bias"]])
        weights |= {f"bias_ih_{suffix}": q["input"]["bias"], f"bias_hh_{suffix}": second}
    return torch.func.functional_call(layer, weights, (x,))[0]
