"""Published fusions by attention."""

import math

import torch
from torch.nn import functional as F

from tests.parity.fusion_definitions.layers import attention, dense, norm, vectors


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


def mult(p, x, depth=1, heads=2):
    names = sorted(x)
    z = {name: dense(p[f"{name}_project"], x[name]) for name in names}
    last = []
    for a in names:
        crossed = [mult_stack(p[f"{s}_to_{a}"], z[a], z[s], depth, heads) for s in names if s != a]
        last.append(mult_stack(p[f"{a}_memory"], torch.cat(crossed, dim=-1), None, max(depth, 3), heads)[:, -1])
    h = torch.cat(last, dim=-1)
    return {"fused": h + dense(p["down"], dense(p["up"], h).relu())}


def mbt(p, x, depth=3, fusion_layer=1, heads=2, drop_pattern=None):
    """scenic: the class token is prepended before positions are added, so ours is the sum of class token and position 0.

    drop_pattern: of stochastic depth in training, {(modality, layer): two tensors [b 1 1], 1 where a sublayer is dropped}.
    """
    net, names = p["bottleneck"], sorted(x)

    def block(name, layer, y):
        q, (first, second) = net[f"{name}_block{layer}"], (drop_pattern or {}).get((name, layer), (0.0, 0.0))
        z = norm(q["norm1"], y, 1e-6)
        y = attention(q["attention"], z, z, heads) * (1.0 - first) + y
        z = dense(q["down"], F.gelu(dense(q["up"], norm(q["norm2"], y, 1e-6)), approximate="tanh"))
        return z * (1.0 - second) + y

    def start(name):
        embed, first = net[f"{name}_embed"], torch.full_like(net[f"{name}_class"], 0.3)
        position = torch.cat([first, embed["position"][None]], dim=1)
        class_token = (net[f"{name}_class"] - first).expand(len(x[name]), -1, -1)
        return torch.cat([class_token, dense(embed["project"]["dense"], x[name])], dim=1) + position

    y, z = {name: start(name) for name in names}, net["bottleneck"].expand(len(x[names[0]]), -1, -1)
    for layer in range(depth):
        bottles = []
        for name in names:
            count = y[name].shape[1]
            if layer < fusion_layer:
                y[name] = block(name, layer, y[name])
            else:
                out = block(name, layer, torch.cat([y[name], z], dim=1))
                y[name] = out[:, :count]
                bottles.append(out[:, count:])
        z = torch.stack(bottles, dim=-1).mean(dim=-1) if bottles else z
    encoded, counter, logits = norm(net["norm"], torch.cat([y[name] for name in names], dim=1), 1e-6), 0, {}
    for name in names:
        logits[name] = dense(p["dense"], encoded[:, counter])
        counter += y[name].shape[1]
    return {"fused": sum(logits.values()) / len(names)} | {f"{name}.logits": value for name, value in logits.items()}


def nl_gate(p, x):
    project = lambda kind, name: dense(p[f"{name}_{kind}"]["dense"], x[name])
    q, k, v = project("query", "video"), project("key", "audio"), project("value", "audio")
    return {"fused": q + torch.softmax(torch.matmul(q, k.transpose(1, 2)), dim=2) @ v}


def attention_pooling(p, x):
    """AT-Fusion: B has one column per modality."""
    b = torch.stack([dense(p[name]["dense"], value) for name, value in vectors(x).items()], dim=2)
    weights = torch.softmax(p["score"]["kernel"].T @ torch.tanh(p["attention"]["kernel"].T @ b), dim=-1)
    return {"fused": (b @ weights.transpose(1, 2))[:, :, 0]}


def vilbert(p, x, own=(("video", 2), ("audio", 3)), depth=1, heads=2):
    """BertConnectionLayer of both streams, then BertLayer of each; the product of both poolers."""
    x, add = dict(x), lambda q, y, z: norm(q, y + z, 1e-12)
    perceptron = lambda q, y: dense(q["down"], F.gelu(dense(q["up"], y)))
    for layer in range(depth):
        before = dict(x)
        for (name, own_heads), (other, _) in zip(own, own[::-1]):
            cross, after, block = (p[f"{name}_{kind}{layer}"] for kind in ("cross", "perceptron", "block"))
            y = add(cross["norm"], before[name], attention(cross["attention"], before[name], before[other], heads))
            y = add(after["norm"], y, perceptron(after, y))
            y = add(block["norm1"], y, attention(block["attention"], y, y, own_heads))
            x[name] = add(block["norm2"], y, perceptron(block, y))
    pooled = [dense(p[f"{name}_pooler"], x[name][:, 0]).relu() for name, _ in own]
    return {"fused": pooled[0] * pooled[1]}


def perceiver(p, x, reads=2, depth=1, heads=2):
    """Section 3, with our embedding of tokens, as many heads in all attention, separate weights, and a last norm."""

    def layer(q, z, context):
        keys = norm(q["norm1"], z, 1e-6) if context is None else norm(q["norm_context"], context, 1e-6)
        z = z + attention(q["attention"], norm(q["norm1"], z, 1e-6), keys, heads)
        return z + dense(q["down"], F.gelu(dense(q["up"], norm(q["norm2"], z, 1e-6))))

    embed = lambda q, y: dense(q["project"]["dense"], y) + q["position"]
    tokens = torch.cat([embed(p[f"{name}_embed"], x[name]) for name in sorted(x)], dim=1)
    z = p["latents"].expand(len(tokens), -1, -1)
    for read in range(reads):
        z = layer(p[f"read{read}"], z, tokens)
        for block in range(depth):
            z = layer(p[f"transformer{read}"][f"block{block}"], z, None)
    return {"fused": norm(p["norm"], z, 1e-6)}


def flamingo_resampler(p, x, present, name="video", frames=3, depth=2, heads=2):
    """Figure 5 for each example, with OpenFlamingo's norms, without absent tokens. present: Bool[b n]."""

    def one(x_f, kept):
        x_f = dense(p[f"{name}_project"]["dense"], x_f).unflatten(0, (frames, -1))  # [T S d]
        x_f = (x_f + p[f"{name}_frames"][:, None]).flatten(0, 1)[kept]
        z = p[f"{name}_queries"][0]
        for number in range(depth):
            q = p[f"{name}_layer{number}"]
            latents = norm(q["norm_latents"], z)[None]
            z = z + attention(q, latents, torch.cat([norm(q["norm_media"], x_f)[None], latents], dim=1), heads)[0]
            z = z + dense(q["down"], dense(q["up"], norm(q["norm_perceptron"], z)).relu().square())
        return norm(p[f"{name}_norm"], z)

    return {"fused": torch.stack([one(*example) for example in zip(x, torch.from_numpy(present))])}


def linear(prefix, q):
    return {f"{prefix}.weight": q["kernel"].T, f"{prefix}.bias": q["bias"]}


def scaled(prefix, q):
    return {f"{prefix}.weight": q["scale"], f"{prefix}.bias": q["bias"]}


def loaded(module, weights):
    module.load_state_dict(weights)
    return module.eval()


def qformer(p, x, depth=2, heads=2, hidden=8):
    """transformers' Blip2QFormerModel of each modality, and the projection for the language model."""
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    def one(name):
        queries = p[f"{name}_queries"]
        sizes = {"hidden_size": queries.shape[-1], "num_hidden_layers": depth, "num_attention_heads": heads}
        sizes |= {"intermediate_size": hidden, "encoder_hidden_size": x[name].shape[-1], "cross_attention_frequency": 2}
        weights = scaled("layernorm", p[f"{name}_norm"])
        for layer in range(depth):
            prefix = f"encoder.layer.{layer}"
            for ours, theirs in ((f"self{layer}", "attention"), (f"cross{layer}", "crossattention")):
                if f"{name}_{ours}" in p:
                    q = p[f"{name}_{ours}"]
                    for kind in ("query", "key", "value"):
                        weights |= linear(f"{prefix}.{theirs}.attention.{kind}", q["attention"][kind])
                    weights |= linear(f"{prefix}.{theirs}.output.dense", q["attention"]["out"])
                    weights |= scaled(f"{prefix}.{theirs}.output.LayerNorm", q["norm"])
            q = p[f"{name}_perceptron{layer}"]
            weights |= linear(f"{prefix}.intermediate_query.dense", q["up"])
            weights |= linear(f"{prefix}.output_query.dense", q["down"]) | scaled(f"{prefix}.output_query.LayerNorm", q["norm"])
        model = loaded(Blip2QFormerModel(Blip2QFormerConfig(**sizes)), weights)
        z = model(queries.expand(len(x[name]), -1, -1), encoder_hidden_states=x[name]).last_hidden_state
        return dense(p[f"{name}_out"], z)

    return {"fused": torch.cat([one(name) for name in sorted(x)], dim=1)}


def perceiver_io(p, x, depth=1, blocks=2, heads=2):
    """transformers' PerceiverEncoder and PerceiverBasicDecoder, which follow the authors' code."""
    from transformers import PerceiverConfig
    from transformers.models.perceiver.modeling_perceiver import PerceiverBasicDecoder, PerceiverEncoder

    def layer(prefix, q):
        own = f"{prefix}.attention.self"
        weights = scaled(f"{own}.layernorm1", q["norm1"]) | linear(f"{prefix}.attention.output.dense", q["attention"]["out"])
        for kind in ("query", "key", "value"):
            weights |= linear(f"{own}.{kind}", q["attention"][kind])
        if "norm_context" in q:
            weights |= scaled(f"{own}.layernorm2", q["norm_context"])
        weights |= scaled(f"{prefix}.layernorm", q["norm2"])
        return weights | linear(f"{prefix}.mlp.dense1", q["up"]) | linear(f"{prefix}.mlp.dense2", q["down"])

    widened = [torch.cat([x[n], p[f"{n}_padding"].expand(*x[n].shape[:2], -1)], dim=2) for n in sorted(x)]
    tokens, latents, queries = torch.cat(widened, dim=1), p["latents"], p["queries"]
    width, asked = latents.shape[-1], queries.shape[-1]
    sizes = {"d_latents": width, "num_blocks": blocks, "num_self_attends_per_block": depth, "num_self_attention_heads": heads}
    sizes |= {"num_cross_attention_heads": 1, "hidden_act": "gelu_pytorch_tanh"}
    config, weights = PerceiverConfig(**sizes), layer("cross_attention", p["read"])
    for number in range(depth):
        weights |= layer(f"self_attends.{number}", p[f"block{number}"])
    encoder = loaded(PerceiverEncoder(config, kv_dim=tokens.shape[-1]), weights)
    fields = {"position_encoding_type": "none", "num_channels": asked, "final_project": False}
    decoder = PerceiverBasicDecoder(config, asked, **fields)
    decoder = loaded(decoder, layer("decoding_cross_attention", p["decoder"]))
    z = encoder(latents.expand(len(tokens), -1, -1), inputs=tokens).last_hidden_state
    return {"fused": decoder(queries.expand(len(tokens), -1, -1), z).logits}
