"""Published fusions of aligned sequences."""

from itertools import chain, combinations

import torch
from torch.nn import functional as F

from tests.parity.fusion_definitions.layers import cell, dense, norm, perceptron


def contextual(p, x):
    """Poria et al., 2017, section 3.2, for the utterances of one video [n d]: LSTM, and relu(W h + b) but in h-LSTM."""

    def lstm(q, x):
        step, zeros = cell(q["input"], q["recurrent"]), torch.zeros(1, len(q["recurrent"]))
        state, states = (zeros, zeros), []
        for utterance in x:
            state = step(utterance[None], state)
            states.append(state[0])
        return torch.cat(states)

    q = p["layer"]
    h = torch.cat([lstm(q["forward"], x), lstm(q["backward"], x.flip(0)).flip(0)], dim=1) if "forward" in q else lstm(q, x)
    return F.relu(dense(p["context"]["dense"], h)) if "context" in p else h


def hierarchical(p, x, lengths):
    """Section 3.3: the contextual network over the outputs of those of all modalities; zeros beyond the length of a video."""
    videos, steps = [], next(iter(x.values())).shape[1]
    for video, length in enumerate(lengths):
        joined = torch.cat([contextual(p[name], x[name][video, :length]) for name in sorted(x)], dim=1)
        videos.append(F.pad(contextual(p["fusion"], joined), (0, 0, 0, steps - length)))
    return {"fused": torch.stack(videos)}


def mag(p, x, target="text", beta=0.5):
    e, h = x[target], 0
    for name in sorted(x):
        if name != target:
            gate = F.relu(dense(p[f"{name}_gate"], torch.cat([x[name], e], dim=-1)))
            h = h + gate * dense(p[name], x[name])
    size = h.norm(2, dim=-1)
    size = torch.where(size == 0, torch.ones_like(size), size)
    alpha = torch.minimum(e.norm(2, dim=-1) / (size + 1e-6) * beta, torch.ones_like(size))
    return {"fused": norm(p["norm"], alpha.unsqueeze(-1) * h + e)}


def raven(p, x, target="text", beta=0.5):
    e, h = x[target], p["bias"]
    for name in sorted(x):
        if name != target:
            w = torch.sigmoid(dense(p[f"{name}_gate"], torch.cat([x[name], e], dim=-1)))
            h = h + w * dense(p[name], x[name])
    alpha = (e.norm(dim=-1) / h.norm(dim=-1) * beta).clamp(max=1)
    return {"fused": e + alpha[..., None] * h}


def recur(p, x, attend):
    names, steps = sorted(x), next(iter(x.values())).shape[1]
    cells = {name: cell(p[f"{name}_input"], p[f"{name}_recurrent"]["kernel"]) for name in names}
    zeros = torch.zeros(len(x[names[0]]), p[f"{names[0]}_recurrent"]["kernel"].shape[0])
    states = {name: (zeros, zeros) for name in names}
    memory = torch.zeros(len(zeros), p["candidate_down"]["kernel"].shape[1])
    for step in range(steps):
        new = {name: cells[name](x[name][:, step], states[name]) for name in names}
        attended = attend(states, new)
        candidate = torch.tanh(perceptron(p, "candidate", attended))
        both = torch.cat([attended, memory], dim=1)
        kept, new_part = (torch.sigmoid(perceptron(p, name, both)) for name in ("retain", "update"))
        memory = kept * memory + new_part * candidate
        states = new
    return {"fused": torch.cat([*(states[name][0] for name in names), memory], dim=1)}


def mfn(p, x):
    def attend(states, new):
        cells = torch.cat([state[name][1] for state in (states, new) for name in sorted(x)], dim=1)
        return torch.softmax(perceptron(p, "attention", cells), dim=1) * cells

    return recur(p, x, attend)


def graph_mfn(p, x):
    names = sorted(x)

    def subsets(key, sizes):
        return list(chain.from_iterable(combinations(key, size) for size in sizes))

    def linear(name, y):
        layers = sorted(key for key in p if key.startswith(f"{name}_layer"))
        for layer in layers:
            y = dense(p[layer], y)
        return y

    def attend(states, new):
        outputs = {
            (name,): F.relu(dense(p[f"{name}_vertex"], torch.cat([states[name][0], new[name][0]], dim=1))) for name in names
        }
        efficacies, index = linear("efficacies", torch.cat(list(outputs.values()), dim=1)), 0
        for key in subsets(names, range(2, len(names) + 1)):
            smaller = subsets(key, range(1, len(key)))
            scaled = [outputs[s] * efficacies[:, index + y, None] for y, s in enumerate(smaller)]
            outputs[key] = linear("_".join(key), torch.cat(scaled, dim=1))
            index += len(smaller)
        every = subsets(names, range(1, len(names) + 1))
        return linear("top", torch.cat([outputs[s] * efficacies[:, index + y, None] for y, s in enumerate(every)], dim=1))

    return recur(p, x, attend)


def mfm(p, x):
    def encoded(name):
        run = cell(p[f"{name}_encoder"]["input"], p[f"{name}_encoder"]["recurrent"])
        width = p[f"{name}_latent"]["kernel"].shape[0]
        state = torch.zeros(len(x[name]), width), torch.zeros(len(x[name]), width)
        for step in range(x[name].shape[1]):
            state = run(x[name][:, step], state)
        return dense(p[f"{name}_latent"], state[0])

    def decoded(name, start):
        run = cell(p[f"{name}_generator_input"], p[f"{name}_generator_recurrent"]["kernel"])
        value, state, every = start, (torch.zeros_like(start), torch.zeros_like(start)), []
        for _ in range(x[name].shape[1]):
            state = run(value, state)
            value = state[0]
            every.append(value)
        return dense(p[f"{name}_decoder"], torch.stack(every, dim=1))

    latents = {name: encoded(name) for name in sorted(x)}
    latent = dense(p["latent"], mfn(p["mfn"], x)["fused"])
    fy = F.relu(perceptron(p, "factor", latent))
    factors = {name: F.relu(perceptron(p, f"{name}_factor", z)) for name, z in latents.items()}
    error = sum(F.mse_loss(decoded(name, torch.cat([fy, f], dim=1)), x[name].detach()) for name, f in factors.items())
    return {"fused": fy, "latent": latent, "generation": error[None]} | {f"{name}.latent": z for name, z in latents.items()}
