"""Low-rank adaptation of an encoder (Hu et al., 2022, "LoRA: low-rank adaptation of large language models")."""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from mmjax.types import Tokens


class LoRA(nn.Module):
    """An encoder whose dense kernels W [in out] are used as W + (alpha / rank) A B, A [in rank], B [rank out] (equation 3).

    B starts at zero, so that at first the encoder is itself. Its own parameters are under "base", A and B under "lora": with
    `Stage(1.0, learns=("encoders_text/lora", "fusion", "heads"))` they alone learn, and alone have an optimiser's state.

    The sum is float32. An encoder that computes in bfloat16 rounds it, and may lose a product that is small beside W.

    encoder: any without batch statistics. rank; alpha: dimensionless. kernels: regular expression of the dense layers' paths,
    matched whole; the paper's are queries and values.
    """

    encoder: nn.Module
    rank: int = 8
    alpha: float = 16.0
    kernels: str = r".*attention/(query|value)"

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Tokens:
        inner = self.encoder.clone(parent=None, name=None)

        def base(key):
            variables = inner.init(key, x)
            if set(variables) != {"params"}:
                others = sorted(set(variables) - {"params"})
                raise ValueError(f"LoRA.encoder: {type(inner).__name__} has {others}, and params alone can be adapted")
            return variables["params"]

        params = self.param("base", base)
        lora = self.param("lora", lambda key: self.start(key, params))
        rngs = {"dropout": self.make_rng("dropout")} if train and self.has_rng("dropout") else {}
        return inner.apply({"params": self.folded({"base": params, "lora": lora})}, x, train=train, rngs=rngs)

    def start(self, key: jax.Array, params: Mapping[str, Any]) -> dict[str, Any]:
        """A of uniform numbers within 1 / sqrt(in), as the authors' code has it, and B of zeros, for each kernel."""
        flat = flatten_dict(dict(params), sep="/")
        paths = [path.removesuffix("/kernel") for path in sorted(flat) if re.fullmatch(f"(?:{self.kernels})/kernel", path)]
        if not paths or self.rank < 1:
            dense = sorted(path.removesuffix("/kernel") for path in flat if path.endswith("/kernel"))
            raise ValueError(f"LoRA.kernels is {self.kernels!r}, .rank {self.rank}; the dense layers are {', '.join(dense)}")
        found = {}
        for number, path in enumerate(paths):
            kernel = flat[f"{path}/kernel"]
            if kernel.ndim != 2:
                raise ValueError(f"LoRA.kernels matches {path}, a kernel of shape {list(kernel.shape)}: no dense layer")
            bound = kernel.shape[0] ** -0.5
            a = jax.random.uniform(jax.random.fold_in(key, number), (kernel.shape[0], self.rank), minval=-bound, maxval=bound)
            found |= {f"{path}/a": a, f"{path}/b": jnp.zeros((self.rank, kernel.shape[1]))}
        return unflatten_dict(found, sep="/")

    def folded(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """This module's parameters, {"base", "lora"} -> the encoder's alone, with the products added to its kernels."""
        flat, lora = (flatten_dict(dict(params[name]), sep="/") for name in ("base", "lora"))
        for path in {path.rpartition("/")[0] for path in lora}:
            flat[f"{path}/kernel"] = flat[f"{path}/kernel"] + self.alpha / self.rank * (lora[f"{path}/a"] @ lora[f"{path}/b"])
        return unflatten_dict(flat, sep="/")
