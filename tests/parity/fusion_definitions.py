"""Published fusions, rewritten in torch after the papers' equations and the authors' code.

Each takes our parameters, as a tree of tensors, and {modality: tokens [b n d]}, and returns {name: tensor}. Vectors have one
token. Imported by the tests alone, since it needs torch.
"""

import math
from itertools import chain, combinations

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
    d = x.shape[-1] // heads
    split = lambda y: y.unflatten(-1, (heads, d)).transpose(1, 2)
    q, k, v = split(dense(p["query"], x) * d**-0.5), split(dense(p["key"], context)), split(dense(p["value"], context))
    scores = q @ k.transpose(-1, -2)
    weights = (scores if mask is None else scores + mask).softmax(dim=-1)
    return dense(p["out"], (weights @ v).transpose(1, 2).flatten(2))


def positions(count, width):
    half = width // 2
    steps = torch.exp(torch.arange(half) * -(math.log(10_000) / (half - 1)))
    angles = torch.arange(count + 1)[:, None] * steps[None]  # position 0 is that of padding
    return torch.cat([angles.sin(), angles.cos(), torch.zeros(count + 1, width % 2)], dim=1)[1:]


def mult_stack(p, x, context, depth, heads):
    embed = lambda y: math.sqrt(y.shape[-1]) * y + positions(y.shape[1], y.shape[2])
    x, keys = embed(x), None if context is None else embed(context)
    n, m = x.shape[1], (x if keys is None else keys).shape[1]
    mask = torch.triu(torch.full((n, m), -math.inf), 1 + abs(m - n))
    for layer in range(depth):
        first = p[f"norm{layer}_attention"]  # one norm of the code normalises queries, keys and values
        y = norm(first, x)
        x = x + attention(p[f"attention{layer}"], y, y if keys is None else norm(first, keys), heads, mask)
        y = norm(p[f"norm{layer}_perceptron"], x)
        x = x + dense(p[f"down{layer}"], dense(p[f"up{layer}"], y).relu())
    return norm(p["norm"], x)


def mult(p, x, depth=2, heads=2):
    names = sorted(x)
    z = {name: dense(p[f"{name}_project"], x[name]) for name in names}
    last = []
    for a in names:
        crossed = [mult_stack(p[f"{s}_to_{a}"], z[a], z[s], depth, heads) for s in names if s != a]
        last.append(mult_stack(p[f"{a}_memory"], torch.cat(crossed, dim=-1), None, max(depth, 3), heads)[:, -1])
    h = torch.cat(last, dim=-1)
    return {"fused": h + dense(p["down"], dense(p["up"], h).relu())}


def mbt(p, x, depth=3, fusion_layer=1, heads=2):
    """scenic: the class token is prepended before positions are added, so ours is the sum of class token and position 0."""
    net, names = p["bottleneck"], sorted(x)

    def block(q, y):
        z = norm(q["norm1"], y, 1e-6)
        y = y + attention(q["attention"], z, z, heads)
        return y + dense(q["down"], F.gelu(dense(q["up"], norm(q["norm2"], y, 1e-6)), approximate="tanh"))

    def start(name):
        embed, first = net[f"{name}_embed"], torch.full_like(net[f"{name}_class"], 0.3)
        position = torch.cat([first, embed["position"][None]], dim=1)
        class_token = (net[f"{name}_class"] - first).expand(len(x[name]), -1, -1)
        return torch.cat([class_token, dense(embed["project"]["dense"], x[name])], dim=1) + position

    y, z = {name: start(name) for name in names}, net["bottleneck"].expand(len(x[names[0]]), -1, -1)
    for layer in range(depth):
        bottles = []
        for name in names:
            q, count = net[f"{name}_block{layer}"], y[name].shape[1]
            if layer < fusion_layer:
                y[name] = block(q, y[name])
            else:
                out = block(q, torch.cat([y[name], z], dim=1))
                y[name] = out[:, :count]
                bottles.append(out[:, count:])
        z = torch.stack(bottles, dim=-1).mean(dim=-1) if bottles else z
    encoded, counter, logits = norm(net["norm"], torch.cat([y[name] for name in names], dim=1), 1e-6), 0, {}
    for name in names:
        logits[name] = dense(p["dense"], encoded[:, counter])
        counter += y[name].shape[1]
    return {"fused": sum(logits.values()) / len(names)} | {f"{name}.logits": value for name, value in logits.items()}


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


def nl_gate(p, x):
    project = lambda kind, name: dense(p[f"{name}_{kind}"]["dense"], x[name])
    q, k, v = project("query", "video"), project("key", "audio"), project("value", "audio")
    return {"fused": q + torch.softmax(torch.matmul(q, k.transpose(1, 2)), dim=2) @ v}


def attention_pooling(p, x):
    """AT-Fusion: B has one column per modality."""
    b = torch.stack([dense(p[name]["dense"], value) for name, value in vectors(x).items()], dim=2)
    weights = torch.softmax(p["score"]["kernel"].T @ torch.tanh(p["attention"]["kernel"].T @ b), dim=-1)
    return {"fused": (b @ weights.transpose(1, 2))[:, :, 0]}


def perceptron(p, name, x):
    return dense(p[f"{name}_down"], F.relu(dense(p[f"{name}_up"], x)))


def cell(inputs, recurrent):
    """torch's LSTM cell with our weights."""
    recurrent = recurrent.T
    lstm = nn.LSTMCell(inputs["kernel"].shape[0], recurrent.shape[1])
    weights = {"weight_ih": inputs["kernel"].T, "weight_hh": recurrent, "bias_ih": inputs["bias"]}
    return lambda x, state: torch.func.functional_call(lstm, weights | {"bias_hh": torch.zeros(len(recurrent))}, (x, state))


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


def dcca(x, y, ridge, top):
    """Andrew et al., section 3: T = S11^-1/2 S12 S22^-1/2 from eigenvectors; the sum of its highest singular values."""
    x, y = x - x.mean(0), y - y.mean(0)
    s11, s22 = (z.T @ z / (len(z) - 1) + ridge * torch.eye(z.shape[1]) for z in (x, y))

    def root(s):
        values, basis = torch.linalg.eigh(s)
        return basis @ torch.diag(values**-0.5) @ basis.T

    return torch.linalg.svdvals(root(s11) @ (x.T @ y / (len(x) - 1)) @ root(s22))[:top].sum()
