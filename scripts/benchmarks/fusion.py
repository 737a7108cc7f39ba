"""Each fusion of mmjax, forward and backward, against its equations in plain torch: float32, batch 16, tokens 256 wide.

The gradient is with respect to parameters and tokens, of the mean fused token times fixed weights. mmjax masks absent
modalities, although all are present here; the torch equations have no masks. Sizes: 4 modalities of 64 tokens; for some fusions
also 4 of 256 and 8 of 64. The table states how the time of each side and the FLOPs of the equations grow from a fusion's first
case to its others.
"""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from benchmarks.case import TOLERANCE, Case, Weights, Workload
from benchmarks.fusion_specs import as_torch, mmjax_module, specs

BATCH, WIDTH = 16, 256
GROWING = ("Concat", "EarlyTransformer", "CrossAttention", "Bottleneck")
GROWN = {kind: ((4, 256), (8, 64)) for kind in GROWING} | {"TensorFusion": ((4, 256),)}
QUICK = ("Concat", "TensorFusion", "CrossAttention", "Serial")
NOTES = {
    "Concat": "FLOPs count matmuls only: the mean over tokens, most of the work, has none.",
    "TensorFusion": "The product has 17^K entries: 83,521 for 4 modalities, and too many for any machine for 8. Without the "
    "layer that narrows tokens from 256 to 16, it would have 257^4. FLOPs count matmuls only; the mean has none.",
    "MultiplicativeInteractions": "The result is 64 wide, since the tensors have d_1 d_2 width entries.",
    "MulT": "It is 32 wide inside, as published.",
    "MixtureOfExperts": "As in evaluation, without noise in the gates.",
}

Size = tuple[int, int, int, int]  # modalities, tokens, width, batch


def cases(quick: bool, device: str) -> list[Case]:
    """One case per fusion and size. quick: one case with some fusions."""
    if quick:
        return [_case("some", QUICK, (2, 5, 8, 4), device)]
    return [
        _case(f"{kind} {modalities} x {tokens}", (kind,), (modalities, tokens, WIDTH, BATCH), device, first)
        for kind in specs(WIDTH)
        for modalities, tokens, first in ((4, 64, ""), *((*size, f"{kind} 4 x 64") for size in GROWN.get(kind, ())))
    ]


def _case(name: str, kinds: tuple[str, ...], size: Size, device: str, grown_from: str = "") -> Case:
    sides = {"mmjax": partial(mmjax_workload, kinds, size), "torch": partial(torch_workload, kinds, size, device)}
    note = " ".join(NOTES[kind] for kind in kinds if kind in NOTES)
    return Case(name, sides, {"torch": 1.0}, tolerance=TOLERANCE[device], note=note, grown_from=grown_from)


def inputs(size: Size) -> dict[str, np.ndarray]:
    modalities, tokens, width, batch = size
    rng = np.random.default_rng(0)
    return {f"m{k}": rng.standard_normal((batch, tokens, width), np.float32) for k in range(modalities)}


def output_weights(width: int) -> np.ndarray:
    """The factors of the mean fused token in the scalar that is differentiated."""
    return np.random.default_rng(1).standard_normal(width, np.float32)


def results(kind: str, mean: np.ndarray, of_tokens: Mapping[str, np.ndarray], squares: float) -> dict[str, np.ndarray]:
    """The compared outputs of a fusion: the mean fused token, the tokens' gradients, the norm of the parameters' gradient."""
    tokens = np.stack([of_tokens[name] for name in sorted(of_tokens)])
    return {f"{kind}": mean, f"{kind}, by tokens": tokens, f"{kind}, by parameters": np.sqrt(np.float32(squares))}


def mmjax_workload(kinds: tuple[str, ...], size: Size, weights: Weights) -> Workload:
    import jax
    import jax.numpy as jnp

    from benchmarks.mmjax_side import flatten, parameter_count
    from mmjax.nn import masked_mean
    from mmjax.types import Tokens

    tokens = jax.tree.map(jnp.asarray, inputs(size))
    rng = np.random.default_rng(2)

    def random(path, leaf):
        """Random instead of initial values, so that no term is zero and no two gates are equal."""
        spread = math.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.05
        return jnp.asarray((path[-1].key == "scale") + spread * rng.standard_normal(leaf.shape), leaf.dtype)

    def build(fusion):
        """(parameters, the function that computes the gradients)."""
        with_masks = lambda tokens: {name: Tokens(x, jnp.ones(x.shape[:2], bool)) for name, x in tokens.items()}
        shapes = jax.eval_shape(lambda: fusion.init(jax.random.key(0), with_masks(tokens))).get("params", {})
        params = jax.tree_util.tree_map_with_path(random, shapes)  # compiling the module's own `init` takes seconds

        def objective(params, tokens):
            mean = masked_mean(fusion.apply({"params": params}, with_masks(tokens)))
            return jnp.sum(mean @ output_weights(mean.shape[-1])), mean

        return params, jax.jit(jax.value_and_grad(objective, argnums=(0, 1), has_aux=True))

    parts = {kind: build(mmjax_module(specs(size[2])[kind])) for kind in kinds}
    outputs = {}

    def run():
        found = jax.block_until_ready([gradients(params, tokens) for params, gradients in parts.values()])
        if not outputs:  # the first run
            for kind, ((_, mean), (of_params, of_tokens)) in zip(parts, jax.device_get(found)):
                squares = sum(np.square(leaf).sum() for leaf in jax.tree.leaves(of_params))
                outputs.update(results(kind, mean, of_tokens, squares))

    copied = {f"{kind}/{name}": x for kind, (params, _) in parts.items() for name, x in as_torch(flatten(params)).items()}
    return Workload(run, outputs, sum(parameter_count(params) for params, _ in parts.values()), copied)


def torch_workload(kinds: tuple[str, ...], size: Size, device: str, weights: Weights) -> Workload:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from benchmarks.torch_fusions import build
    from benchmarks.torch_side import count_flops, parameter_count, synchronized, to_device, with_weights

    modalities, length, width, batch = size
    tokens = {name: to_device(x, device).requires_grad_() for name, x in inputs(size).items()}
    sizes = {name: (length, width) for name in tokens}

    def with_gradients(kind):
        """(module, the function that computes the gradients)."""
        weights_of = {name.removeprefix(f"{kind}/"): x for name, x in weights.items() if name.startswith(f"{kind}/")}
        fusion = with_weights(build(specs(width)[kind], sizes), weights_of, device)
        factors = to_device(output_weights(fusion.size[1]), device)
        leaves = [*tokens.values(), *(p for p in fusion.parameters() if p.requires_grad)]

        def gradients():
            for leaf in leaves:
                leaf.grad = None
            mean = fusion(tokens).mean(dim=1)
            (mean @ factors).sum().backward()
            return mean, [leaf.grad for leaf in leaves]

        return fusion, gradients

    parts = {kind: with_gradients(kind) for kind in kinds}
    outputs = {}

    def run():
        found = synchronized([gradients() for _, gradients in parts.values()], device)
        if not outputs:  # the first run
            for kind, (mean, of_all) in zip(parts, found):
                arrays = [np.zeros((batch, length, width)) if one is None else one.cpu().numpy() for one in of_all]
                squares = sum(np.square(one).sum() for one in arrays[modalities:])
                outputs.update(results(kind, mean.detach().cpu().numpy(), dict(zip(tokens, arrays)), squares))

    with sdpa_kernel(SDPBackend.MATH):  # its matmuls are counted on every device
        flops = count_flops(lambda: [gradients() for _, gradients in parts.values()])
    if "ContextOver" in kinds:
        flops += 3 * 2 * batch * length * 4 * width * (modalities * width + width)  # the LSTM
    return Workload(run, outputs, sum(parameter_count(fusion) for fusion, _ in parts.values()), flops=flops)
