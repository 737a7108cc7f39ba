"""Published fusions of vectors."""

import math

import torch
from torch.nn import functional as F

from tests.parity.fusion_definitions.layers import dense, one_first, vectors


def lmf(p, x):
    product = 1
    for name, value in vectors(x).items():
        factor = p[f"{name}_factor"]
        product = product * torch.matmul(one_first(value), torch.cat([factor[:, -1:], factor[:, :-1]], dim=1))
    return {"fused": torch.matmul(p["weights"], product.permute(1, 0, 2)).squeeze(1) + p["bias"]}


def ones_moved(kernel, sizes):
    """The kernel [e w] over our outer product, as [d_1 + 1, ..., w] with the entries of the appended 1 first."""
    kernel = kernel.reshape(*(size + 1 for size in sizes), -1)
    return torch.roll(kernel, [1] * len(sizes), list(range(len(sizes))))


def tfn(p, x):
    """The code's order is audio, video, text; ours is by name."""
    v = vectors(x)
    kernel = ones_moved(p["then"]["hidden0"]["kernel"], [v[name].shape[1] for name in sorted(v)])
    kernel = kernel.transpose(1, 2).flatten(0, 2)
    tensor = torch.bmm(one_first(v["audio"]).unsqueeze(2), one_first(v["video"]).unsqueeze(1)).flatten(1).unsqueeze(2)
    tensor = torch.bmm(tensor, one_first(v["text"]).unsqueeze(1)).flatten(1)
    return {"fused": dense(p["then"]["dense"], (tensor @ kernel + p["then"]["hidden0"]["bias"]).relu()).relu()}


def multiplicative_interactions(p, x):
    """MultiBench: m_3 A(m_1, m_2) + B(m_1, m_2), with A and B of equation 1 of Jayakumar et al."""
    m1, m2, m3 = vectors(x).values()
    layer = p["then"]["outer_dense0"]
    t = layer["kernel"].reshape(m1.shape[1] + 1, m2.shape[1] + 1, m3.shape[1] + 1, -1)

    def two(w, u, v, b):
        hyper = torch.einsum("bn,nm...->bm...", m1, w) + v
        bias = torch.einsum("bn,n...->b...", m1, u) + b
        return torch.einsum("bm,bm...->b...", m2, hyper) + bias

    a = two(t[:-1, :-1, :-1], t[:-1, -1, :-1], t[-1, :-1, :-1], t[-1, -1, :-1])
    b = two(t[:-1, :-1, -1], t[:-1, -1, -1], t[-1, :-1, -1], t[-1, -1, -1] + layer["bias"])
    return {"fused": torch.einsum("bm,bmp->bp", m3, a) + b}


def gmu(p, x):
    v = vectors(x)
    joined = torch.cat(list(v.values()), dim=1)
    h = [torch.tanh(dense(p[name], value)) for name, value in v.items()]
    z = torch.sigmoid(dense(p["gate"], joined))
    if len(h) == 2:
        return {"fused": z * h[0] + (1 - z) * h[1]}
    return {"fused": sum(a * b for a, b in zip(z.chunk(len(h), dim=1), h))}


def mfb(p, x, factors=3):
    """Power normalisation and L2 normalisation, as in the authors' code."""
    product = 1
    for name, value in vectors(x).items():
        product = product * dense(p[name], value)
    z = product.unflatten(1, (-1, factors)).sum(2)
    return {"fused": F.normalize(torch.sqrt(F.relu(z)) - torch.sqrt(F.relu(-z)))}


def mutan(p, x, rank=3):
    product = 1
    for name, value in vectors(x).items():
        core = p[f"{name}_core"]["kernel"]
        product = product * torch.einsum("bi,irw->brw", torch.tanh(dense(p[name], value)), core.unflatten(1, (rank, -1)))
    return {"fused": product.sum(1)}


def multiplicative_interactions_of_two(p, x):
    z, y = vectors(x).values()
    bilinear = torch.einsum("bi,ijw,bj->bw", z, p["video_tensor"], y)
    return {"fused": bilinear + dense(p["video_before"], z) + dense(p["video"], y)}


def mixture(p, x, k=2):
    """Shazeer et al., equations 1 to 5, without the noise of training."""
    joined = torch.cat(list(vectors(x).values()), dim=1)
    scores = dense(p["gate"], joined)
    kept = torch.full_like(scores, -math.inf).scatter(1, scores.topk(k).indices, scores.topk(k).values)
    hidden = dense(p["hidden"], joined).relu().unflatten(1, (scores.shape[1], -1))
    experts = [hidden[:, i] @ p["kernel"][i] + p["bias"][i] for i in range(scores.shape[1])]
    return {"fused": sum(kept.softmax(dim=1)[:, i, None] * expert for i, expert in enumerate(experts))}


def soft_mixture(p, x):
    """Jacobs et al., 1991: all experts count."""
    return mixture(p, x, k=p["kernel"].shape[0])


def product_of_experts(p, x):
    """Hinton, 2002, equation 1, with p_k by perceptrons."""
    experts = [
        torch.softmax(dense(p[f"{name}_logits"], dense(p[f"{name}_hidden"], value).relu()), dim=1)
        for name, value in vectors(x).items()
    ]
    product = math.prod(experts)
    return {"fused": torch.log(product / product.sum(dim=1, keepdim=True))}


def random_fourier(p, x, gamma=0.4, width=40):
    """Rahimi and Recht, 2007, with the pair [cos w'u; sin w'u] of each row w of W, whose blocks are those of Yu et al., 2016,
    section 4: sqrt(n) / sigma H D_1 H D_2 H D_3, sigma^-2 = 2 gamma. u are unit vectors, padded with zeros."""
    u = torch.cat([F.normalize(value) for value in vectors(x).values()], dim=1)
    signs = p["random"]["signs"]
    n, h = signs.shape[2], torch.ones(1, 1)
    while len(h) < n:
        h = torch.cat([torch.cat([h, h], dim=1), torch.cat([h, -h], dim=1)])
    h = h / math.sqrt(n)
    blocks = [math.sqrt(n * 2 * gamma) * h @ d1.diag() @ h @ d2.diag() @ h @ d3.diag() for d3, d2, d1 in signs.transpose(0, 1)]
    w = torch.cat(blocks)[: width // 2, : u.shape[1]]
    return {"fused": torch.cat([torch.cos(u @ w.T), torch.sin(u @ w.T)], dim=1) / math.sqrt(len(w))}


def film(p, x):
    """Equations 1 and 2, with gamma = 1 + its prediction, then ReLU."""
    gamma, beta = dense(p["audio_film"], x["audio"].mean(1))[:, None].chunk(2, dim=2)
    return {"fused": F.relu((1 + gamma) * dense(p["video"], x["video"]) + beta)}


def film_blocks(p, x, depth=2, grid=(3, 2)):
    """FiLMedResBlock with `bn-film`, in inference mode, over maps [b c h w]."""
    conv = lambda q, y, padding: F.conv2d(y, q["kernel"].permute(3, 2, 0, 1), q["bias"], padding=padding)
    condition = torch.cat([x[name].mean(1) for name in ("audio", "text")], dim=1)
    generated = dense(p["generator"], condition).unflatten(1, (depth, -1))
    y = x["video"].transpose(1, 2).unflatten(2, grid)
    rows, columns = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in grid), indexing="ij")
    place = torch.stack([columns, rows]).expand(len(y), -1, -1, -1)
    for block in range(depth):
        gamma, beta = generated[:, block, :, None, None].chunk(2, dim=1)
        y = F.relu(conv(p[f"project{block}"], torch.cat([y, place], dim=1), 0))
        stats = p["batch_stats"][f"norm{block}"]
        z = F.batch_norm(conv(p[f"conv{block}"], y, 1), stats["mean"], stats["var"], eps=1e-5)
        y = y + F.relu((1 + gamma) * z + beta)
    return {"fused": y.flatten(2).transpose(1, 2)}
