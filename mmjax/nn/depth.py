"""Deep modules that take less memory or are traced faster. Parameters keep their paths and values.

    Deep(vit_l16(), Remat())             # what a block computes is computed again for the gradient
    Deep(vit_l16(), Scan())              # a loop over the blocks, of which one is traced
    Deep(vit_l16(), Scan(remat=policy))  # both, which saves memory also where XLA makes nothing of `Remat()`, as on CPU
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mmjax.nn.attention import Block, Transformer
from mmjax.shards import in_parts
from mmjax.types import Padded, Tokens

__all__ = ["Deep", "Interceptor", "Remat", "Scan"]

Interceptor = Callable[[Callable, tuple, dict[str, Any], nn.module.InterceptorContext], Any]
"""(method, its arguments, its keyword arguments, context) -> its result, as `flax.linen.intercept_methods` takes it."""


@dataclass(frozen=True)
class Remat:
    """The activations of a block are not kept for its gradient, but computed again (Chen et al., 2016, "Training deep nets with
    sublinear memory cost").

    blocks: regular expression of the names of blocks, such as those of `nn.Transformer`; a block inside a block is part of it.
    policy: of `jax.checkpoint_policies`, which selects what is kept all the same. ValueError if there is no such block.
    """

    blocks: str = r"block\d+"
    policy: Callable = jax.checkpoint_policies.nothing_saveable

    def interceptor(self, found: list[str]) -> Interceptor:
        """found: gets the names of the blocks."""
        inside = []

        def intercept(call, args, options, context):
            module, name = context.module, context.module.path[-1] if context.module.path else ""
            if inside or context.method_name != "__call__" or not re.fullmatch(self.blocks, name):
                return call(*args, **options)
            found.append(name)
            if module.is_initializing():
                return call(*args, **options)
            leaves, structure = jax.tree.flatten((args, options))
            arrays = {at: leaf for at, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)}  # others are static

            def run(module, arrays):
                args, options = jax.tree.unflatten(structure, [arrays.get(at, leaf) for at, leaf in enumerate(leaves)])
                inside.append(name)
                try:
                    return module(*args, **options)
                finally:
                    inside.pop()

            return nn.remat(run, policy=self.policy)(module, arrays)

        return intercept


@dataclass(frozen=True)
class Scan:
    """The equal blocks of each `nn.Transformer`, `decoders.LanguageModel` and `decoders.GPT2` run in a loop. Their parameters
    are copied into one array for each step, and dropout draws other numbers than without the loop. On a mesh, the parameters of
    one block at a time are gathered. There is no loop where something is computed between blocks, as in `decoders.Flamingo`,
    and under a further interceptor, such as that of int8 products, since it would not see the paths of the blocks.

    remat: a policy as in `Remat`; None to keep everything for the gradient. ValueError if there are no such blocks.
    """

    remat: Callable | None = None

    def interceptor(self, found: list[str]) -> Interceptor:
        """found: gets the names of the modules with blocks."""

        def intercept(call, args, options, context):
            module = context.module
            loops = {"__call__": self._transformer, "in_turn": self._language_model}  # the latter of language models alone
            loop = loops.get(context.method_name)
            if loop is None or (context.method_name == "__call__" and not isinstance(module, Transformer)):
                return call(*args, **options)
            found.append("/".join(module.path))
            if module.is_initializing() or module.depth < 2 or len(nn.module._global_interceptor_stack) > 1:
                return call(*args, **options)
            return loop(call, module, *args, **options)

        return intercept

    def _transformer(self, call: Callable, module: Transformer, x: Array, mask: Array, *, train: bool = False) -> Array:
        """The output of `nn.Transformer.__call__`."""
        del call
        block = Block(**{name: getattr(module, name) for name in Block.__dataclass_fields__.keys() - {"parent", "name"}})
        numbers = jnp.zeros(module.depth, jnp.int32)
        return self._loop(module, block, x, numbers, train, lambda apply, x, number: apply(x, mask, train=train))

    def _language_model(
        self, call: Callable, module: nn.Module, x: Array, given: Any, kinds: Any, past: Any, count: Any, *rest: Any
    ) -> tuple[Array, tuple[None, ...]]:
        """The output of `in_turn` of `decoders.LanguageModel` and `decoders.GPT2`."""
        train, *between = rest
        if past is not None or any(between):  # a cache, or what is computed between blocks
            return call(x, given, kinds, past, count, *rest)
        of_kinds = jax.tree.map(lambda *leaves: jnp.stack(leaves), *given)

        def one(apply, x, kind):
            of_kind = given[0] if len(given) == 1 else jax.tree.map(lambda leaves: leaves[kind], of_kinds)
            return apply(x, *of_kind, None, count, train)[0]

        block = module.block0.clone(parent=None, name=None)
        return self._loop(module, block, x, jnp.array(kinds), train, one), (None,) * len(kinds)

    def _loop(self, module: nn.Module, block: nn.Module, x: Array, kinds: Array, train: bool, one: Callable) -> Array:
        """one: (the block with the parameters of a step, x, kind of the step) -> x. kinds: Int[depth]."""
        blocks = [in_parts(module.variables["params"][f"block{n}"]) for n in range(module.depth)]
        stacked, gather = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(parts for parts, _ in blocks)), blocks[0][1]
        key = module.make_rng("dropout") if train and module.dropout else None

        def step(x, given):
            params, kind, number = given
            rngs = {} if key is None else {"dropout": jax.random.fold_in(key, number)}
            return one(partial(block.apply, {"params": gather(params)}, rngs=rngs), x, kind), None

        step = step if self.remat is None else jax.checkpoint(step, policy=self.remat, prevent_cse=False)
        return jax.lax.scan(step, x, (stacked, kinds, jnp.arange(module.depth)))[0]


class Deep(nn.Module):
    """An encoder, a fusion or a decoder whose blocks run as `blocks` says. Texts are generated as without it.

    module: with blocks that have no batch statistics. blocks: `Remat()` or `Scan()`.
    """

    module: nn.Module
    blocks: Remat | Scan = Remat()

    def setup(self):
        nn.share_scope(self, self.module)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """As of the module."""
        found = []
        with nn.intercept_methods(self.blocks.interceptor(found)):
            outputs = self.module(*inputs, **options)
        if not found:
            raise ValueError(f"Deep.module is {type(self.module).__name__}, which has no part for {self.blocks!r}")
        return outputs

    def __getattr__(self, name: str) -> Any:
        # No property, since linen turns its AttributeError into another error, and a decoder may lack the method.
        if name == "memory_weights" and hasattr(self.module, name):
            return self._memory_weights
        return super().__getattr__(name)

    def _memory_weights(self, ids: Padded, memory: Tokens) -> Float[Array, "b n m"]:
        return self.module.memory_weights(ids, memory)

    @property
    def vocabulary(self) -> int | None:
        """The number of token ids, if the module has that field."""
        return getattr(self.module, "vocabulary", None)

    @property
    def takes_present(self) -> bool:
        """As of an encoder."""
        return getattr(self.module, "takes_present", False)

    @property
    def prompt(self) -> tuple[int, ...]:
        """As of a decoder."""
        return self.module.prompt

    @property
    def end(self) -> int:
        """As of a decoder."""
        return self.module.end

    def init_cache(self, memory: Tokens, max_tokens: int, beams: int = 1) -> Any:
        """As of a decoder."""
        return self.module.init_cache(memory, max_tokens, beams)

    def step(self, ids: Int[Array, "b n"], cache: Any) -> Any:
        """As of a decoder."""
        return self.module.step(ids, cache)
