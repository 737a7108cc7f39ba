"""Greedy decoding written by hand in torch, with a preallocated cache: a side of the row decode."""

from itertools import chain

import numpy as np

from benchmarks.case import Weights, Workload


def looped_workload(sizes: dict[str, int], memory: np.ndarray, device: str, compiled: bool, weights: Weights) -> Workload:
    """memory: Float32[b n d], the encoded image. sizes["first"]: the id of the first token."""
    import torch

    from benchmarks.torch_side import DEVICES, full_precision, parameter_count, synchronized, to_device, with_weights

    batch, tokens, width, heads = (sizes[name] for name in ("batch", "tokens", "width", "heads"))
    model = with_weights(captioner(sizes).eval(), weights, device)
    context, first = to_device(memory, device), to_device(np.full((batch, 1), sizes["first"]), device)
    places = torch.arange(tokens, device=DEVICES[device])
    empty = lambda: torch.zeros(batch, heads, tokens, width // heads, device=DEVICES[device])
    past = [(empty(), empty()) for _ in model.layers]
    if compiled:
        for cache in chain(*past):
            torch._dynamo.mark_static_address(cache)  # otherwise a CUDA graph may not write into it

    def next_token(token, seen, at):
        """The next token with constant shapes, for the compiler."""
        return model(token, past, seen, at, None, (places <= at)[None]).argmax(-1, keepdim=True)

    step = torch.compile(next_token, mode="reduce-overhead" if device == "gpu" else None) if compiled else None

    @torch.inference_mode()
    def decode():
        seen = [layer.encoder_attn.keys_values(context) for layer in model.layers]
        token, texts = first, []
        for number in range(tokens):
            at = places[number : number + 1]
            if compiled:
                token = step(token, seen, at).clone()
            else:
                token = model(token, past, seen, at, number + 1, None).argmax(-1, keepdim=True)
            texts.append(token)
        return synchronized(torch.cat(texts, dim=1), device)

    @torch.inference_mode()
    def logits_of(texts):
        seen = [layer.encoder_attn.keys_values(context) for layer in model.layers]
        steps = [model(texts[:, n : n + 1], past, seen, places[n : n + 1], n + 1, None) for n in range(tokens)]
        return torch.stack(steps, dim=1)

    with full_precision():
        texts = decode()
        logits = logits_of(texts)
    outputs = {"texts": texts.cpu().numpy(), "scores": np.zeros(batch), "logits": logits.cpu().numpy()}
    return Workload(decode, outputs, parameter_count(model))


def captioner(sizes: dict[str, int]):
    """The decoder with the names of transformers' Whisper."""
    from torch import nn
    from torch.nn.functional import gelu, linear, scaled_dot_product_attention

    batch, width, heads = (sizes[name] for name in ("batch", "width", "heads"))

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(3))
            self.k_proj = nn.Linear(width, width, bias=False)

        def split(self, y):
            return y.view(batch, -1, heads, width // heads).transpose(1, 2)

        def keys_values(self, context):
            return self.split(self.k_proj(context)), self.split(self.v_proj(context))

        def forward(self, x, keys, values, mask=None):
            y = scaled_dot_product_attention(self.split(self.q_proj(x)), keys, values, attn_mask=mask)
            return self.out_proj(y.transpose(1, 2).reshape(x.shape))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.self_attn, self.encoder_attn = Attention(), Attention()
            self.self_attn_layer_norm, self.encoder_attn_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.final_layer_norm = nn.LayerNorm(width)
            self.fc1, self.fc2 = nn.Linear(width, sizes["hidden"]), nn.Linear(sizes["hidden"], width)

        def forward(self, x, past, seen, at, count, mask):
            y = self.self_attn_layer_norm(x)
            for cache, new in zip(past, self.self_attn.keys_values(y)):
                cache.index_copy_(2, at, new)
            x = x + self.self_attn(y, *(cache[:, :, :count] for cache in past), mask)
            x = x + self.encoder_attn(self.encoder_attn_layer_norm(x), *seen)
            return x + self.fc2(gelu(self.fc1(self.final_layer_norm(x))))

    class Captioner(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens = nn.Embedding(sizes["vocabulary"], width)
            self.embed_positions = nn.Embedding(sizes["positions"], width)
            self.layers = nn.ModuleList(Block() for _ in range(sizes["depth"]))
            self.layer_norm = nn.LayerNorm(width)

        def forward(self, token, past, seen, at, count, mask):
            """token: Int[b 1]. past: the self-attention's keys and values of each layer. seen: those of the memory. at: the
            position. count: the number of tokens that `past` has then, None for all with a mask."""
            x = self.embed_tokens(token) + self.embed_positions(at)
            for layer, cache, keys_values in zip(self.layers, past, seen):
                x = layer(x, cache, keys_values, at, count, mask)
            return linear(self.layer_norm(x)[:, -1], self.embed_tokens.weight)

    return Captioner()
