"""Each fusion of mmjax, forwards and backwards, against its equations in plain torch: float32, batch 16, tokens 256 wide.

The gradient is with respect to parameters and tokens, of the mean fused token times given numbers. mmjax masks what is absent
and here nothing is; the torch equations know no masks. Sizes: 4 modalities of 64 tokens; for some fusions also 4 of 256 and 8
of 64. The page says how a side's time grows from a fusion's first case to its others, and how the FLOPs of the equations do.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks.work import TOLERANCE, Case, Weights, Work

BATCH, WIDTH, CLASSES = 16, 256, 10


class Spec(NamedTuple):
    """A fusion, or a layer of one: its class in mmjax and its fields."""

    kind: str
    fields: Mapping[str, Any]


def specs(width: int) -> dict[str, Spec]:
    """All fusions that `python -m mmjax.parts` lists, in its order; modalities are m0, m1 and so on."""
    plain, hidden, late = {"width": width}, {"width": width, "hidden": 2 * width}, {"classes": CLASSES, "width": width}
    gmu, concat, pair = Spec("GMU", plain), Spec("Concat", plain), ("m0", "m1")
    branches = {"sum": Spec("WeightedSum", plain), "product": Spec("Product", plain)}
    found = [
        concat,
        *branches.values(),
        Spec("FiLM", {"target": "m0", **plain}),
        gmu,
        Spec("Gated", plain),
        Spec("TensorFusion", {"inner": 16, **plain}),
        Spec("LowRank", {"rank": 4, **plain}),
        Spec("MultiplicativeInteractions", {"width": max(width // 4, 1)}),
        Spec("MFB", {"factors": 5, **plain}),
        Spec("MUTAN", {"inner": 32, "rank": 5, **plain}),
        Spec("EarlyTransformer", hidden),
        Spec("CrossAttention", {"query": "m0", **hidden}),
        Spec("CoAttention", hidden),
        Spec("MulT", {"width": max(width // 8, 4), "hidden": max(width // 2, 4)}),
        Spec("Perceiver", {"latents": 8, **hidden}),
        Spec("Bottleneck", {"tokens": 4, **hidden}),
        Spec("MixtureOfExperts", {"experts": 6, "k": 2, **hidden}),
        *(Spec(kind, late) for kind in ("MeanLogits", "WeightedLogits", "ProductOfExperts", "Stacked")),
        Spec("Only", {"names": pair, "fusion": gmu}),
        Spec("Serial", {"names": pair, "first": gmu, "then": concat}),
        Spec("Parallel", {"branches": branches, "then": Spec("Append", {})}),
        Spec("Append", {}),
        Spec("EachStep", {"fusion": gmu}),
        Spec("SideBySide", {}),
        Spec("ContextOver", {"fusion": Spec("SideBySide", {}), "layer": Spec("LSTM", {"features": width})}),
    ]
    return {spec.kind: spec for spec in found}


GROWING = ("Concat", "EarlyTransformer", "CrossAttention", "Bottleneck")
GROWN = {kind: ((4, 256), (8, 64)) for kind in GROWING} | {"TensorFusion": ((4, 256),)}
QUICK = ("Concat", "TensorFusion", "CrossAttention", "Serial")
NOTES = {
    "Concat": "FLOPs are those of matmuls: the mean over tokens, most of its work, has none.",
    "TensorFusion": "Its product has 17^K entries: 83,521 of 4 modalities, and of 8 no machine holds them; of tokens 256 "
    "wide, without the layer that narrows them to 16, it would have 257^4. FLOPs are those of matmuls: the mean has none.",
    "MultiplicativeInteractions": "Its result is 64 wide: its tensors have d_1 d_2 width numbers.",
    "MulT": "It is 32 wide inside, as published.",
    "MixtureOfExperts": "As in evaluation: the gates' noise is left out.",
}


def cases(quick: bool, device: str) -> list[Case]:
    """One for each fusion and size; where quick, some fusions as one case."""
    if quick:
        return [_case("some", QUICK, (2, 5, 8, 4), device)]
    return [
        _case(f"{kind} {modalities} x {tokens}", (kind,), (modalities, tokens, WIDTH, BATCH), device, first)
        for kind in specs(WIDTH)
        for modalities, tokens, first in ((4, 64, ""), *((*size, f"{kind} 4 x 64") for size in GROWN.get(kind, ())))
    ]


def _case(name: str, kinds: tuple[str, ...], size: tuple[int, int, int, int], device: str, grown_from: str = "") -> Case:
    sides = {"mmjax": partial(ours, kinds, size), "torch": partial(theirs, kinds, size, device)}
    note = " ".join(NOTES[kind] for kind in kinds if kind in NOTES)
    return Case(name, sides, {"torch": 1.0}, tolerance=TOLERANCE[device], note=note, grown_from=grown_from)


def inputs(size: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
    modalities, tokens, width, batch = size
    rng = np.random.default_rng(0)
    return {f"m{k}": rng.standard_normal((batch, tokens, width), np.float32) for k in range(modalities)}


def weighing(width: int) -> np.ndarray:
    """What the mean fused token is multiplied with."""
    return np.random.default_rng(1).standard_normal(width, np.float32)


def module(value: Any) -> Any:
    """mmjax's module of a Spec, also where it stands inside of a mapping; what is neither remains."""
    from mmjax import fusion, nn

    if isinstance(value, Spec):
        return getattr(nn if value.kind == "LSTM" else fusion, value.kind)(**module(value.fields))
    return {name: module(part) for name, part in value.items()} if isinstance(value, Mapping) else value


def named(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{path/in/mmjax: array} as torch's modules of the same names have them: "/" becomes ".", and layouts are torch's."""
    found = {}
    for path, x in params.items():
        owner, _, name = path.replace("/", ".").rpartition(".")
        start = f"{owner}." if owner else ""
        if name == "recurrent":  # of an LSTM
            found |= {f"{start}weight_hh_l0": x.T, f"{start}bias_hh_l0": np.zeros(x.shape[1], np.float32)}
        elif owner.endswith(".input") and f"{path.rpartition('/input/')[0]}/recurrent" in params:
            layer = owner.removesuffix(".input")
            found |= {f"{layer}.weight_ih_l0": x.T} if name == "kernel" else {f"{layer}.bias_ih_l0": x}
        elif name == "kernel" and x.ndim in (2, 4):
            found[f"{start}weight"] = x.T if x.ndim == 2 else x.transpose(3, 2, 0, 1)
        else:
            found[start + {"scale": "weight", "embedding": "weight"}.get(name, name)] = x
    return found


def said(kind: str, mean: np.ndarray, of_tokens: Mapping[str, np.ndarray], squares: float) -> dict[str, np.ndarray]:
    """What both sides give of a fusion: the mean fused token, the tokens' gradients, the length of the parameters' gradient."""
    tokens = np.stack([of_tokens[name] for name in sorted(of_tokens)])
    return {f"{kind}": mean, f"{kind}, by tokens": tokens, f"{kind}, by parameters": np.sqrt(np.float32(squares))}


def ours(kinds: tuple[str, ...], size: tuple[int, int, int, int], weights: Weights) -> Work:
    import jax
    import jax.numpy as jnp

    from benchmarks.ours import flat, numbers
    from mmjax.nn import masked_mean
    from mmjax.types import Tokens

    tokens = jax.tree.map(jnp.asarray, inputs(size))
    rng = np.random.default_rng(2)

    def drawn(path, leaf):
        """No zeros and ones, with which some would begin: every term counts, and no two gates are equal."""
        spread = math.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.05
        return jnp.asarray((path[-1].key == "scale") + spread * rng.standard_normal(leaf.shape), leaf.dtype)

    def built(fusion):
        """Its parameters, and what computes the gradients."""
        seen = lambda tokens: {name: Tokens(x, jnp.ones(x.shape[:2], bool)) for name, x in tokens.items()}
        shapes = jax.eval_shape(lambda: fusion.init(jax.random.key(0), seen(tokens))).get("params", {})
        params = jax.tree_util.tree_map_with_path(drawn, shapes)  # its own take seconds to compile

        def objective(params, tokens):
            mean = masked_mean(fusion.apply({"params": params}, seen(tokens)))
            return jnp.sum(mean @ weighing(mean.shape[-1])), mean

        return params, jax.jit(jax.value_and_grad(objective, argnums=(0, 1), has_aux=True))

    parts = {kind: built(module(specs(size[2])[kind])) for kind in kinds}
    outputs = {}

    def run():
        found = jax.block_until_ready([gradients(params, tokens) for params, gradients in parts.values()])
        if not outputs:  # the first run
            for kind, ((_, mean), (of_params, of_tokens)) in zip(parts, jax.device_get(found)):
                squares = sum(np.square(leaf).sum() for leaf in jax.tree.leaves(of_params))
                outputs.update(said(kind, mean, of_tokens, squares))

    copied = {f"{kind}/{name}": x for kind, (params, _) in parts.items() for name, x in named(flat(params)).items()}
    return Work(run, outputs, sum(numbers(params) for params, _ in parts.values()), copied)


def theirs(kinds: tuple[str, ...], size: tuple[int, int, int, int], device: str, weights: Weights) -> Work:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from benchmarks.fusion_peers import build
    from benchmarks.peers import count, done, flops_of, load, place

    modalities, length, width, batch = size
    tokens = {name: place(x, device).requires_grad_() for name, x in inputs(size).items()}
    sizes = {name: (length, width) for name in tokens}

    def built(kind):
        """Its module, and what computes the gradients."""
        weights_of = {name.removeprefix(f"{kind}/"): x for name, x in weights.items() if name.startswith(f"{kind}/")}
        fusion = load(build(specs(width)[kind], sizes), weights_of, device)
        weigh = place(weighing(fusion.size[1]), device)
        learned = [*tokens.values(), *(p for p in fusion.parameters() if p.requires_grad)]

        def gradients():
            for leaf in learned:
                leaf.grad = None
            mean = fusion(tokens).mean(dim=1)
            (mean @ weigh).sum().backward()
            return mean, [leaf.grad for leaf in learned]

        return fusion, gradients

    parts = {kind: built(kind) for kind in kinds}
    outputs = {}

    def run():
        found = done([gradients() for _, gradients in parts.values()], device)
        if not outputs:  # the first run
            for kind, (mean, of_all) in zip(parts, found):
                arrays = [np.zeros((batch, length, width)) if one is None else one.cpu().numpy() for one in of_all]
                squares = sum(np.square(one).sum() for one in arrays[modalities:])
                outputs.update(said(kind, mean.detach().cpu().numpy(), dict(zip(tokens, arrays)), squares))

    with sdpa_kernel(SDPBackend.MATH):  # whose matmuls are counted on every device
        flops = flops_of(lambda: [gradients() for _, gradients in parts.values()])
    if "ContextOver" in kinds:
        flops += 3 * 2 * batch * length * 4 * width * (modalities * width + width)  # its LSTM
    return Work(run, outputs, sum(count(fusion) for fusion, _ in parts.values()), flops=flops)
