"""Perceiver, after section 3.2, section 4.2 and appendix C of its paper (Jaegle et al., 2021)."""

import math

import torch
from torch.nn import functional as F

from tests.parity.fusion_definitions.layers import attention, dense, norm


def positions(grid, bands):
    """x_d, then sin(f_k pi x_d) and cos(f_k pi x_d) of each cell, with f_k from 1 to the Nyquist frequency."""
    cells = torch.cartesian_prod(*(torch.linspace(-1, 1, size) for size in grid)).reshape(-1, len(grid))
    columns = [cells]
    for wave in (torch.sin, torch.cos):
        for side, size in enumerate(grid):
            for band in range(bands):
                frequency = 1 + band * (size / 2 - 1) / (bands - 1)
                columns.append(wave(frequency * math.pi * cells[:, side : side + 1]))
    return torch.cat(columns, dim=1)


def perceiver(p, x, present, grids, reads, depth, heads, bands, shared):
    """Each example without its absent tokens. present: {modality: Bool[b n]}."""
    gelu = lambda y: F.gelu(y, approximate="tanh")

    def dense_block(q, z):
        return z + dense(q["down"], gelu(dense(q["up"], norm(q["norm2"], z))))

    def cross(q, z, byte_array):
        assert q["attention"]["query"]["kernel"].shape[1] == min(z.shape[-1], byte_array.shape[-1])  # one head
        z = z + attention(q["attention"], norm(q["norm1"], z), norm(q["norm_context"], byte_array), 1)
        return dense_block(q, z)

    def latent_transformer(q, z):
        for number in range(depth):
            block = q[f"block{number}"]
            y = norm(block["norm1"], z)
            z = dense_block(block, z + attention(block["attention"], y, y, heads))
        return z

    def one(example):
        arrays = []
        for name in sorted(x):
            tagged = torch.cat([x[name][example], positions(grids[name], bands)], dim=1)
            if len(x) > 1:
                tagged = torch.cat([tagged, p[f"{name}_encoding"][0].expand(len(tagged), -1)], dim=1)
            arrays.append(tagged[torch.from_numpy(present[name][example])])
        byte_array, z = torch.cat(arrays)[None], p["latents"]
        for number in range(reads):
            z = cross(p[f"read{min(number, 1) if shared else number}"], z, byte_array)
            z = latent_transformer(p[f"transformer{0 if shared else number}"], z)
        return z[0]

    return {"fused": torch.stack([one(example) for example in range(len(next(iter(x.values()))))])}
