#!/usr/bin/env python3
"""The size of a compressed Whisper decoder, and the error of its next-token logits against the float decoder.

    python scripts/compressed_decoder.py --clips 32

The encoder stays float32. Inputs are recordings of Stamps in one language; tokens are the prompt and the English name of each
stamp, which the decoder reads but did not write. MB: arrays of the decoder. error: root mean square difference of the logits,
centred over the vocabulary, relative to their root mean square. KL: of the next-token distributions, nats. same: share of the
positions whose most probable token is the same. ms: the median time of a call with all clips relative to float, in turn.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.data.stamps.dataset import Stamps
from mmjax.pretrained import load
from mmjax.pretrained.transcribe import Transcriber
from mmjax.robust.quantize import Chain, Quantize
from mmjax.robust.quantize_dynamic import DynamicInt8
from mmjax.types import Padded

DECODER = ("decoder",)
ROWS = {
    "float": Chain(()),
    "int8": Quantize(8, weights=DECODER),
    "dynamic int8": DynamicInt8(weights=DECODER),
    "int4, group 32": Quantize(4, group=32, weights=DECODER),
    "int4, blocks alone": Quantize(4, group=32, weights=("decoder/block[0-9]+",)),
    "int4, per channel": Quantize(4, weights=DECODER),
}


def inputs_of(transcriber: Transcriber, clips: int, language: str, seconds: float) -> dict[str, Padded]:
    """The arguments of `Whisper`: {"frames", "tokens"} of the first clips of the test split."""
    data = Stamps(image_size=8, speech_languages=(language,), seconds=seconds).load()
    rows, names = data.splits["test"], data.metadata["test"]["text"]
    chosen = [number for number in range(len(rows)) if rows.pointer["audio"][number] >= 0][:clips]
    sounds = [data.columns["audio"].read(int(rows.pointer["audio"][number])) for number in chosen]
    waves = Padded(np.stack([np.asarray(s.x, np.float32) / 32767 for s in sounds]), np.stack([s.length for s in sounds]))
    ids = [[*transcriber.prompt, *transcriber.tokenizer.encode(f" {names[n]}", add_special_tokens=False).ids] for n in chosen]
    tokens = np.zeros((len(ids), max(map(len, ids))), np.int32)
    for row, one in zip(tokens, ids):
        row[: len(one)] = one
    length = np.array([len(one) for one in ids], np.int32)
    return {"frames": transcriber.preprocessing.finish(waves), "tokens": Padded(jnp.asarray(tokens), jnp.asarray(length))}


def megabytes(variables: Any) -> float:
    """The arrays of the decoder, and their scales."""
    parts = [tree["decoder"] for tree in variables.values() if "decoder" in tree]
    return sum(leaf.nbytes for leaf in jax.tree.leaves(parts)) / 1e6


def milliseconds(run: Any) -> float:
    began = time.perf_counter()
    jax.block_until_ready(run())
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--weights", default="whisper-tiny.en", help="a Whisper model of mmjax.pretrained")
    options.add_argument("--clips", type=int, default=32, help="number of recordings")
    options.add_argument("--language", default="fr", help="of the recordings")
    options.add_argument("--seconds", type=float, default=5.0, help="length of the recordings")
    options.add_argument("--rounds", type=int, default=5, help="calls that are timed")
    given = options.parse_args()
    weights = load(given.weights)
    inputs = inputs_of(Transcriber(weights, seconds=given.seconds), given.clips, given.language, given.seconds)
    valid, reference, base = np.asarray(inputs["tokens"].mask), None, None
    memory = jax.jit(lambda v: weights.module.apply(v, inputs["frames"], method="encode"))(weights.variables)
    decode = lambda module, tokens, memory: module.decoder(tokens, memory)
    print(f"{'decoder':20}{'MB':>8}{'smaller':>9}{'error':>8}{'KL':>10}{'same':>8}{'time':>7}")
    for name, compress in ROWS.items():
        variables = jax.tree.map(jnp.asarray, compress.variables(weights.variables))
        module = compress.module(weights.module)
        call = jax.jit(lambda v, m, module=module: module.apply(v, inputs["tokens"], m, method=decode))
        logits = np.asarray(jax.block_until_ready(call(variables, memory)), np.float64)[valid]
        logits -= logits.mean(axis=-1, keepdims=True)
        run = lambda call=call, variables=variables: call(variables, memory)
        reference, base = (logits, (run, megabytes(variables))) if reference is None else (reference, base)
        p, q = (x - np.log(np.exp(x - x.max()).sum(-1, keepdims=True)) - x.max() for x in (reference, logits))
        error = np.sqrt(np.square(logits - reference).mean() / np.square(reference).mean())
        kl, same = (np.exp(p) * (p - q)).sum(-1).mean(), (p.argmax(-1) == q.argmax(-1)).mean()
        ratio = statistics.median(milliseconds(run) / milliseconds(base[0]) for _ in range(given.rounds))
        size = megabytes(variables)
        print(f"{name:20}{size:>8.1f}{base[1] / size:>9.2f}{error:>8.4f}{kl:>10.5f}{same:>8.3f}{ratio:>7.2f}")


if __name__ == "__main__":
    main()
