"""Published networks for sentiment, with their losses."""

import torch
from torch.nn import functional as F

from tests.parity.fusion_definitions.layers import attention, dense, gru, norm, perceptron, vectors

SCORES = {
    "score": [1.0, -1.5, 2.0, -0.5, 0.0, 0.7],
    "audio.score": [0.2, -1.0, 2.5, 0.5, 0.3, 0.7],
    "text.score": [1.2, -2.0, 1.5, -0.5, -0.3, 0.1],
    "video.score": [-1.0, 0.4, 2.0, 0.1, 0.8, -0.7],
}


def bbfn(p, x, main="video", depth=2, heads=2):
    """GatedTransformer of each pair; "separation" is the mean of BCELoss by example."""

    def projected(name):
        kernel = p[f"{name}_project"]["kernel"].unflatten(0, (3, -1)).permute(2, 1, 0)
        return F.conv1d(x[name].transpose(1, 2), kernel, padding=1).transpose(1, 2)

    def layer(q, y, context, control):
        first = q["norm_attention"]  # one norm of the code normalises queries, keys and values
        attended = attention(q["attention"], norm(first, y), norm(first, context), heads)
        fuse, retain = (torch.sigmoid(dense(q[kind], control))[:, None] for kind in ("fuse", "retain"))
        y = attended * fuse + y * retain
        return y + dense(q["down"], dense(q["up"], norm(q["norm_perceptron"], y)).relu())

    heads_of_pairs, losses = [], []
    for other in sorted(set(x) - {main}):
        y, z = projected(main), projected(other)
        for number in range(depth):
            prefix, encoded = f"{other}{number}", []
            for side, stream in (("main", y), ("other", z)):
                q = p[f"{prefix}_{side}_encoder"]
                encoded.append(dense(q, stream.mean(1)) if number == 0 else sum(gru(q, stream).mean(1).chunk(2, dim=1)) / 2)
            for label, e in enumerate(encoded):
                said = torch.sigmoid(perceptron(p, f"{prefix}_separator", e))[:, 0]
                losses.append(F.binary_cross_entropy(said, torch.full_like(said, label), reduction="none"))
            control = torch.cat(encoded, dim=1)
            y, z = layer(p[f"{prefix}_main"], y, z, control), layer(p[f"{prefix}_other"], z, y, control)
        heads_of_pairs += [y[:, 0], z[:, 0]]
    h = torch.cat(heads_of_pairs, dim=1)
    return {"fused": h + dense(p["down"], dense(p["up"], h).relu()), "separation": torch.stack(losses).mean(0)}


def hard(x):
    """Keras' hard_sigmoid."""
    return torch.clamp(0.2 * x + 0.5, 0, 1)


def mctn(p, x, source="text", targets=("video", "audio")):
    """mctn_model, mctn_level2_model and create_regression_model. The decoder's attention has weights for its state, too; ours
    has none, since they cancel."""
    widest = max(y.shape[-1] for y in x.values())
    x = {name: F.pad(y, (0, widest - y.shape[-1])) for name, y in x.items()}

    def encode(name, y):
        def run(side, y):
            h = c = torch.zeros(len(y), len(p[f"{name}_{side}_recurrent"]["kernel"]))
            for step in range(y.shape[1]):
                z = dense(p[f"{name}_{side}_input"], y[:, step]) + dense(p[f"{name}_{side}_recurrent"], h)
                f, i, o, g = z.chunk(4, dim=1)
                c = torch.tanh(hard(f) * c + hard(i) * torch.tanh(g))
                h = hard(o) * c
                states.append(h)

        states = []
        run("forward", y)
        run("backward", y.flip(1))
        forward, backward = states[: y.shape[1]], states[y.shape[1] :]
        return torch.stack([a + b for a, b in zip(forward, backward[::-1])], dim=1)

    def decode(name, y, steps):
        h = c = torch.zeros(len(y), y.shape[2])
        of_state, every = torch.randn(y.shape[2], generator=torch.Generator().manual_seed(0)), []
        for _ in range(steps):
            scores = dense(p[f"{name}_score"], y)[..., 0] + (c @ of_state)[:, None] + 0.3
            context = torch.einsum("bn,bnd->bd", scores.softmax(dim=1), y)
            i, g, o = (dense(p[f"{name}_context"], context) + dense(p[f"{name}_recurrent"], h)).chunk(3, dim=1)
            f = i = hard(i)
            c = f * c + i * torch.tanh(g)
            h = hard(o) * torch.tanh(c)
            every.append(torch.tanh(dense(p[f"{name}_output"], h)))
        return torch.stack(every, dim=1)

    first, second = targets
    joint = encode("first", x[source])
    there = decode("first", joint, x[first].shape[1])
    back = decode("first", encode("first", there), x[source].shape[1])
    joint = encode("second", joint)
    further = decode("second", joint, x[second].shape[1])
    mse = lambda y, target: (y - target.detach()).pow(2).mean(dim=(1, 2))

    h = c = torch.zeros(len(joint), joint.shape[2])
    states = []
    for step in range(joint.shape[1]):
        z = dense(p["summary_input"], joint[:, step]) + dense(p["summary_recurrent"], h)
        i, f, g, o = z.chunk(4, dim=1)
        c = hard(f) * c + hard(i) * torch.tanh(g)
        h = hard(o) * torch.tanh(c)
        states.append(h)
    states = torch.stack(states, dim=1)
    weight = torch.tanh(dense(p["summary_score"], states))[..., 0].softmax(dim=1)
    fused = (states * weight[..., None]).sum(1)
    return {"fused": fused, "translation": mse(there, x[first]) + mse(further, x[second]), "cycle": mse(back, x[source])}


def mmim(p, x, main="text"):
    """SubNet, CPC of each modality, and MMILB of the main one with the others, whose entropy has no memory here."""
    v = vectors(x)
    z = torch.tanh(dense(p["second"], torch.tanh(dense(p["first"], torch.cat(list(v.values()), dim=1)))))
    cpc = likelihood = entropy = 0
    for name, y in v.items():
        predicted, unit = dense(p[f"{name}_predicted"], z), y / y.norm(dim=1, keepdim=True)
        predicted = predicted / predicted.norm(dim=1, keepdim=True)
        positive, negative = (unit * predicted).sum(1), torch.logsumexp(unit @ predicted.T, dim=1)
        cpc = cpc - (positive - negative).mean()
        if name != main:
            mean, log_variance = (
                dense(p[f"{name}_{kind}"], F.relu(dense(p[f"{name}_{kind}_up"], v[main]))) for kind in ("mean", "log_variance")
            )
            likelihood = likelihood - (-((mean - y) ** 2) / 2 / torch.exp(log_variance)).sum(1).mean()
            entropy = entropy - signed_entropy(torch.tanh(dense(p[f"{name}_entropy"], y)), torch.tensor(SCORES["score"]))
    return {"fused": z, "cpc": cpc[None], "likelihood": likelihood[None], "entropy": entropy[None]}


def signed_entropy(z, label):
    def log_determinant(y):
        centred = y - y.mean(0)
        return torch.logdet(torch.bmm(centred.unsqueeze(-1), centred.unsqueeze(1)).mean(0))

    return 0.25 * (log_determinant(z[label > 0]) + log_determinant(z[label < 0]))


def self_mm(p, x):
    """The networks, and the weighted L1 losses with labels of each modality."""
    v, label = vectors(x), {name: torch.tensor(scores) for name, scores in SCORES.items()}
    outputs = {}
    for name, y in {"fused": torch.cat(list(v.values()), dim=1), **v}.items():
        features = F.relu(dense(p[f"{name}_features"], y))
        score = dense(p[f"{name}_score"], F.relu(dense(p[f"{name}_hidden"], features)))
        prefix = "" if name == "fused" else f"{name}."
        outputs |= {f"{prefix}features": features, f"{prefix}score": score}
        own = label[f"{prefix}score"]
        weight = torch.ones(len(y)) if name == "fused" else torch.tanh(torch.abs(own - label["score"]))
        outputs[f"{prefix}loss"] = (weight * torch.abs(score[:, 0] - own)).mean()[None]
    return {"fused": outputs["features"]} | outputs
