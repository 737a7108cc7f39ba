"""Published fusions by latent variables and representations, with their losses."""

import math
from itertools import combinations

import torch
from torch import nn
from torch.nn import functional as F

from tests.parity.fusion_definitions.layers import dense, norm, vectors


def misa(p, x, heads=2):
    names = sorted(x)
    u = {name: norm(p[f"{name}_norm"], F.relu(dense(p[name], value))) for name, value in vectors(x).items()}
    private = {name: torch.sigmoid(dense(p[f"{name}_private"], u[name])) for name in names}
    shared = {name: torch.sigmoid(dense(p["shared"], u[name])) for name in names}
    block, width = p["block"], u[names[0]].shape[1]
    layer = nn.TransformerEncoderLayer(width, heads, block["up"]["kernel"].shape[1], dropout=0.0)
    qkv = [block["attention"][kind] for kind in ("query", "key", "value")]
    weights = {
        "self_attn.in_proj_weight": torch.cat([q["kernel"].T for q in qkv]),
        "self_attn.in_proj_bias": torch.cat([q["bias"] for q in qkv]),
    }
    layers = {"self_attn.out_proj": block["attention"]["out"], "linear1": block["up"], "linear2": block["down"]}
    for theirs, ours in layers.items():
        weights |= {f"{theirs}.weight": ours["kernel"].T, f"{theirs}.bias": ours["bias"]}
    for name in ("norm1", "norm2"):
        weights |= {f"{name}.weight": block[name]["scale"], f"{name}.bias": block[name]["bias"]}
    stacked = torch.stack([*private.values(), *shared.values()], dim=0)  # [2 K b d]
    h = torch.func.functional_call(layer, weights, (stacked,))
    again = [dense(p[f"{name}_reconstruction"], private[name] + shared[name]) for name in names]
    error = sum(F.mse_loss(a, u[name]) for a, name in zip(again, names)) / len(names)
    fused = F.relu(dense(p["dense"], torch.cat(list(h), dim=1)))
    losses = {
        "similarity": misa_similarity(shared), "difference": misa_difference(private, shared), "reconstruction": error
    }  # fmt: skip
    return {"fused": fused} | {name: value[None] for name, value in losses.items()}


def misa_similarity(shared):
    def discrepancy(a, b):
        ca, cb = a - a.mean(0), b - b.mean(0)
        return (a.mean(0) - b.mean(0)).norm() + sum(((ca**k).mean(0) - (cb**k).mean(0)).norm() for k in range(2, 6))

    return sum(discrepancy(shared[a], shared[b]) for a, b in combinations(shared, 2)) / 3


def misa_difference(private, shared):
    def difference(a, b):
        a, b = a - a.mean(0), b - b.mean(0)
        a, b = (y / (y.norm(dim=1, keepdim=True).detach() + 1e-6) for y in (a, b))
        return (a.T @ b).pow(2).mean()

    pairs = [(private[name], shared[name]) for name in private]
    return sum(difference(a, b) for a, b in [*pairs, *combinations(private.values(), 2)])


def vae(p, name, x):
    mean, log_variance = perceptron_vae(p, f"{name}_up", name, x).chunk(2, dim=1)
    return mean, log_variance


def perceptron_vae(p, up, down, x):
    return dense(p[down], F.relu(dense(p[up], x)))


def decoded(p, x, names, z):
    return sum(0.5 * (perceptron_vae(p, f"{n}_decoder_up", f"{n}_decoder", z) - x[n].detach()).pow(2).sum(1) for n in names)


def mvae(p, x):
    """Wu and Goodman's product, with a prior expert; the ELBOs of all modalities and of each."""
    v = vectors(x)
    experts = {name: vae(p, name, value) for name, value in v.items()}

    def elbo(names):
        means = torch.stack([torch.zeros_like(experts[names[0]][0]), *(experts[name][0] for name in names)])
        variances = torch.stack([torch.ones_like(means[0]), *(experts[name][1].exp() for name in names)]) + 1e-8
        precision = 1 / variances
        mean, log_variance = (means * precision).sum(0) / precision.sum(0), (1 / precision.sum(0)).log()
        divergence = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum(1)
        return mean, decoded(p, v, names, mean) + divergence

    fused, loss = elbo(sorted(v))
    return {"fused": fused, "negative_elbo": loss + sum(elbo([name])[1] for name in v)}


def mmvae(p, x):
    v = vectors(x)
    experts = [vae(p, name, value) for name, value in v.items()]
    experts = [torch.distributions.Normal(mean, (log_variance / 2).exp()) for mean, log_variance in experts]
    prior, loss = torch.distributions.Normal(0.0, 1.0), 0
    for expert in experts:  # the samples are the means, as in evaluation
        z = expert.mean
        log_q = torch.stack([q.log_prob(z).sum(1) for q in experts]).logsumexp(0) - math.log(len(experts))
        loss = loss - (-decoded(p, v, sorted(v), z) + prior.log_prob(z).sum(1) - log_q) / len(experts)
    return {"fused": sum(q.mean for q in experts) / len(experts), "negative_elbo": loss}


def mmvae_dreg(p, x, noise, factors, scale=0.75):
    """`m_dreg_looser` of the code with K samples and Laplace distributions. noise: [K b k w], of scale 1."""
    laplace = torch.distributions.Laplace
    v, names, width = vectors(x), sorted(x), p["prior"].shape[0]
    posteriors, samples = [], []
    for k, name in enumerate(names):
        e = F.relu(dense(p[f"{name}_up"], v[name]))
        location = dense(p[f"{name}_location"], e)
        spread = F.softmax(dense(p[f"{name}_scale"], e), dim=-1) * width + 1e-6
        samples.append(location + spread * noise[:, :, k])
        posteriors.append(laplace(location.detach(), spread.detach()))
    prior, weights = laplace(torch.zeros(width), F.softmax(p["prior"], dim=0) * width), []
    for z in samples:
        mixture = torch.stack([q.log_prob(z).sum(-1) for q in posteriors]).logsumexp(0) - math.log(len(posteriors))
        log_weight = prior.log_prob(z).sum(-1) - mixture
        for name in names:
            location = perceptron_vae(p, f"{name}_decoder_up", f"{name}_decoder", z)
            log_weight = log_weight + laplace(location, scale).log_prob(v[name].detach()).sum(-1) * factors.get(name, 1.0)
        share = (log_weight - log_weight.logsumexp(0)).exp().detach()
        if z.requires_grad:
            z.register_hook(lambda gradient, share=share: share[..., None] * gradient)
        weights.append(log_weight.logsumexp(0) - math.log(len(z)))
    return {"negative_elbo": -torch.stack(weights).mean(0)}


def dcca(x, y, ridge, top):
    """Andrew et al., section 3: T = S11^-1/2 S12 S22^-1/2 from eigenvectors; the sum of its highest singular values."""
    x, y = x - x.mean(0), y - y.mean(0)
    s11, s22 = (z.T @ z / (len(z) - 1) + ridge * torch.eye(z.shape[1]) for z in (x, y))

    def root(s):
        values, basis = torch.linalg.eigh(s)
        return basis @ torch.diag(values**-0.5) @ basis.T

    return torch.linalg.svdvals(root(s11) @ (x.T @ y / (len(x) - 1)) @ root(s22))[:top].sum()


def discrepancy(z, gauss, weight):
    """MFM's `loss_MMD` of z and of weighted samples `gauss`; the code's weights are equal."""
    kernel = lambda x, y: torch.exp(-(x[:, None] - y[None]).pow(2).mean(2) / float(x.shape[1]))
    mean = lambda k, *weights: k.mul(weights[0][:, None]).mul(weights[1][None]).sum()
    own = torch.full((len(z),), 1 / len(z), dtype=z.dtype)
    return mean(kernel(gauss, gauss), weight, weight) + kernel(z, z).mean() - 2.0 * mean(kernel(gauss, z), weight, own)
