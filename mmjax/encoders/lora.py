"""Low-rank adaptation of an encoder or a decoder (Hu et al., 2022, "LoRA: low-rank adaptation of large language models")."""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int

from mmjax.nn.checks import positive
from mmjax.nn.integer_weights import LARGEST, restored, stored
from mmjax.shards import computed_in_parts
from mmjax.types import Tokens

__all__ = ["LoRA", "QLoRA"]


class LoRA(nn.Module):
    """An encoder or a decoder with low-rank additions: dense kernels W [in out] become W + (alpha / rank) A B, with A [in rank]
    and B [rank out] (equation 3).

    B is initialised with zeros, so the module initially equals the encoder. The encoder's parameters are under "base", A and
    B under "lora". A training stage with `learns=("encoders_text/lora", "fusion", "heads")` trains only A and B of the
    encoder, and only these have an optimiser state.

    W + (alpha / rank) A B is float32. An encoder that computes in bfloat16 rounds it, which can lose a small product.

    encoder: any encoder without batch statistics, or a decoder; then `init_cache`, `step`, `prompt` and `end` are those of the
    decoder with A B added to its kernels. rank: of A and B. alpha: dimensionless. kernels: regular expression that
    matches the full path of each adapted dense layer; by default queries and values, as in the paper.

    Raises ValueError if the encoder has other variables than parameters, or `kernels` matches no dense layer.
    """

    encoder: nn.Module
    rank: int = 8
    alpha: float = 16.0
    kernels: str = r".*attention/(query|value)"

    @nn.compact
    def __call__(self, *inputs: Any, train: bool = False) -> Any:
        """As of the encoder or decoder."""
        positive(self, "rank")
        inner = self._inner()

        def base(key):
            variables = inner.init(key, *inputs)
            if set(variables) != {"params"}:
                others = sorted(set(variables) - {"params"})
                raise ValueError(f"LoRA.encoder is {type(inner).__name__}, which has {others}; LoRA supports parameters only")
            return self.stored(variables["params"])

        params = self.param("base", base)
        lora = self.param("lora", lambda key: self.init_lora(key, jax.eval_shape(self.restored, params)))
        rngs = {"dropout": self.make_rng("dropout")} if train and self.has_rng("dropout") else {}
        return inner.apply({"params": self.folded({"base": params, "lora": lora})}, *inputs, train=train, rngs=rngs)

    def stored(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The encoder's parameters as they are kept under "base"."""
        return params

    def restored(self, base: Mapping[str, Any]) -> Mapping[str, Any]:
        """The encoder's parameters, from those under "base"."""
        return base

    @property
    def prompt(self) -> tuple[int, ...]:
        """Token ids before every text of a decoder."""
        return self.encoder.prompt

    @property
    def end(self) -> int:
        """The end token of a decoder."""
        return self.encoder.end

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> Any:
        """As of the decoder."""
        return self._apply(memory, max_tokens, beams, method="init_cache")

    def step(self, ids: Int[Array, "b n"], cache: Any) -> tuple[Float[Array, "b n vocabulary"], Any]:
        """As of the decoder."""
        return self._apply(ids, cache, method="step")

    def _inner(self) -> nn.Module:
        return self.encoder.clone(parent=None, name=None)

    def _apply(self, *given: Any, method: str) -> Any:
        return self._inner().apply({"params": self.folded(self.variables["params"])}, *given, method=method)

    def init_lora(self, key: jax.Array, params: Mapping[str, Any]) -> dict[str, Any]:
        """Initial A, uniform within +-1 / sqrt(in) as in the authors' code, and B, zeros, for each adapted kernel."""
        flat = flatten_dict(dict(params), sep="/")
        paths = [path.removesuffix("/kernel") for path in sorted(flat) if re.fullmatch(f"(?:{self.kernels})/kernel", path)]
        if not paths:
            dense = sorted(path.removesuffix("/kernel") for path in flat if path.endswith("/kernel"))
            raise ValueError(f"LoRA.kernels is {self.kernels!r}, which matches no layer; the layers are {', '.join(dense)}")
        lora = {}
        for number, path in enumerate(paths):
            kernel = flat[f"{path}/kernel"]
            if kernel.ndim != 2:
                raise ValueError(
                    f"LoRA.kernels matches {path}, whose kernel has shape {list(kernel.shape)}; it must match dense layers only"
                )
            bound = kernel.shape[0] ** -0.5
            a = jax.random.uniform(jax.random.fold_in(key, number), (kernel.shape[0], self.rank), minval=-bound, maxval=bound)
            lora |= {f"{path}/a": a, f"{path}/b": jnp.zeros((self.rank, kernel.shape[1]))}
        return unflatten_dict(lora, sep="/")

    def folded(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """{"base", "lora"}, the parameters of this module -> parameters of the encoder, with A B added to its kernels."""
        flat, lora = (flatten_dict(dict(of), sep="/") for of in (self.restored(params["base"]), params["lora"]))
        add = lambda kernel, a, b: kernel + self.alpha / self.rank * (a @ b)
        for path in {path.rpartition("/")[0] for path in lora}:
            flat[f"{path}/kernel"] = computed_in_parts(add, flat[f"{path}/kernel"], lora[f"{path}/a"], lora[f"{path}/b"])
        return unflatten_dict(flat, sep="/")


class QLoRA(LoRA):
    """LoRA over frozen integer weights (Dettmers et al., 2023, "QLoRA: efficient finetuning of quantized LLMs").

    Dense kernels and embeddings are stored as int8, or kernels as int4 in pairs, beside float32 scales ("kernel_scale"), and
    become float32 in each call, of which they are temporaries. Unlike the paper's NF4, the integers are uniformly spaced.
    Published weights are quantised when they are loaded. Only A and B can learn: `Stage(learns=("decoders_text/lora",))`.

    bits: 8 or 4. group: inputs per scale of a kernel, None for all. quantized: regular expression of the paths of quantised
    arrays. The other fields are those of `LoRA`.
    """

    bits: int = 8
    group: int | None = None
    quantized: str = r"(.*/)?(kernel|embedding|output)"

    def stored(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.bits not in LARGEST:
            raise ValueError(f"QLoRA.bits is {self.bits}; it must be 4 or 8")
        positive(self, "group")
        return unflatten_dict(stored(flatten_dict(dict(params), sep="/"), self.quantized, self.bits, self.group), sep="/")

    def restored(self, base: Mapping[str, Any]) -> Mapping[str, Any]:
        return unflatten_dict(restored(flatten_dict(jax.lax.stop_gradient(dict(base)), sep="/")), sep="/")
