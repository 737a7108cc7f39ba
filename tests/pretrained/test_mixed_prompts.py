"""Each of 200 mixed prompts gets the same answer in one padded batch as alone, for all families that see or hear.

Prompts have no to two images or recordings at any place of their text, of several sizes where the family has them, and no
padding at all when they are alone.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.decoders import Flamingo, LanguageModel, LastImage
from mmjax.encoders.qwen_audio import Recordings
from mmjax.nn.search import greedy
from mmjax.pretrained import Pretrained
from mmjax.pretrained.answering import answer_ids
from mmjax.pretrained.architectures import BY_MODEL_TYPE
from mmjax.pretrained.image_prompts import Prompts, Tiles
from mmjax.pretrained.images import BICUBIC, ImagePreprocessing
from mmjax.pretrained.llava_next import AnyResolution, best_size
from mmjax.pretrained.qwen2_audio import vectors_of
from mmjax.pretrained.qwen2_vl import with_places
from mmjax.pretrained.source import Source
from mmjax.types import Batch, Padded, Tokens
from tests.pretrained.test_vision_language import CONFIGS, QWEN, ROPE, TEXT, VISION

PROMPTS, NEW, VOCABULARY = 200, 8, 128
MARKER, WIDTH = 60, 6  # of Flamingo: the token of an image, the width of its vectors
SIDE, VECTORS, FRAMES, BANDS = 8, 4, 16, 5  # of an image, of an image or of the longest recording; of a recording
PREFIX_END = 108  # ends the part of a prompt of PaliGemma whose tokens see each other
LANGUAGE = TEXT | {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "max_position_embeddings": 64}
SIGLIP = VISION | {"model_type": "siglip_vision_model", "vision_use_head": False}
TILED = ((8, 16), (16, 8), (16, 16))  # sizes to which LLaVA-NeXT fits images, in tiles of SIDE pixels
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8}
AUDIO = {"num_mel_bins": BANDS, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 12, "d_model": 8}
SMALL = {"text_config": LANGUAGE | {"model_type": "llama"}, "vision_config": VISION | {"patch_size": 2}, "scale_factor": 2}
FAMILIES = {
    "llava": CONFIGS["llava"] | {"text_config": LANGUAGE},
    "llava_next": CONFIGS["llava_next"] | {"text_config": LANGUAGE, "image_grid_pinpoints": [list(size) for size in TILED]},
    "idefics3": SMALL,
    "smolvlm": SMALL,
    "paligemma": {"text_config": LANGUAGE | GEMMA | {"model_type": "gemma"}, "vision_config": SIGLIP},
    "gemma3": {
        "text_config": LANGUAGE | GEMMA | {"model_type": "gemma3_text", "sliding_window": 3},
        "vision_config": SIGLIP | {"patch_size": 2},
        "mm_tokens_per_image": VECTORS,
    },
    "qwen2_vl": {
        "text_config": LANGUAGE | {"model_type": "qwen2_vl_text", "rope_parameters": ROPE},
        "vision_config": QWEN,
        "tie_word_embeddings": True,
    },
    "qwen2_audio": {
        "text_config": LANGUAGE | {"model_type": "qwen2"},
        "audio_config": AUDIO | {"max_source_positions": FRAMES // 2},
    },
}


class Row(NamedTuple):
    """A prompt. seen: arrays, an image, the cells or tiles of an image, or the frames of a recording; grids: of the cells."""

    ids: list[int]
    seen: list[np.ndarray]
    grids: list[tuple[int, int]]


def rows_of(kind):
    """200 prompts. A vector of an image or recording is an id beyond the vocabulary; Flamingo has one marker for an image."""
    random, found = np.random.default_rng(0), []
    any_resolution = AnyResolution(ImagePreprocessing(None, BICUBIC, None), TILED, SIDE, (2, 2))
    for number in range(PROMPTS):
        words, seen, grids, first = random.integers(3, 50, 5 + number % 2).tolist(), [], [], VOCABULARY
        for _ in range(number % 3):
            shape, grid, vectors, step = (SIDE, SIDE, 3), (1, 1), VECTORS, VECTORS
            if kind == "qwen2_vl":
                grid = ((1, 2), (2, 1), (2, 2))[random.integers(3)]
                vectors = step = grid[0] * grid[1]
                shape = (vectors, 4, 4, 3)
            elif kind == "qwen2_audio":
                frames = (FRAMES, 9)[random.integers(2)]
                shape, vectors = (frames, BANDS), vectors_of(frames)
            own = range(first, first + vectors)
            if kind == "llava_next":
                size = ((9, 20), (20, 6), (16, 15))[random.integers(3)]
                tiles = 1 + math.prod(best_size(size, TILED)) // SIDE**2
                own = [VOCABULARY if vector < 0 else first + 1 + vector for vector in any_resolution.vectors(size)]
                shape, step = (tiles, SIDE, SIDE, 3), tiles * VECTORS
            place = random.integers(0, len(words) + 1)
            words[place:place] = [MARKER] if kind == "flamingo" else own
            first += step
            seen.append(random.normal(size=shape).astype(np.float32))
            grids.append(grid)
        found.append(Row([1, *words, *([PREFIX_END] if kind == "paligemma" else [])], seen, grids))
    return found


def prompts_of(kind, rows):
    """The batch of these rows, padded to the longest, with other numbers in the padding of images."""
    ids = np.zeros((len(rows), max(len(row.ids) for row in rows)), np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row.ids)] = row.ids
    ids = Padded(ids, np.array([len(row.ids) for row in rows], np.int32))
    weight, images = np.ones(len(rows), np.float32), max(1, *(len(row.seen) for row in rows))
    if kind == "qwen2_audio":
        x, lengths = np.full((len(rows), images, FRAMES, BANDS), 9, np.float32), np.zeros((len(rows), images), np.int32)
        for number, row in enumerate(rows):
            for k, frames in enumerate(row.seen):
                x[number, k], lengths[number, k] = 0, len(frames)  # silence after the sound
                x[number, k, : len(frames)] = frames
        batch = Batch({"audio": Recordings(x, lengths)}, {"audio": (lengths > 0).any(axis=1)}, {}, weight)
        return Prompts(batch, ids)
    parts = [np.concatenate(row.seen) if row.seen and kind in ("qwen2_vl", "llava_next") else row.seen for row in rows]
    counts = np.array([len(part) for part in parts], np.int32)
    x = np.full((len(rows), max(1, counts.max()), *((4, 4, 3) if kind == "qwen2_vl" else (SIDE, SIDE, 3))), 9, np.float32)
    for number, part in enumerate(parts):
        x[number, : len(part)] = part if len(part) else x[number, :0]
    prompts = Prompts(Batch({"image": Padded(x, counts)}, {"image": counts > 0}, {}, weight), ids)
    if kind != "qwen2_vl":
        return prompts
    return with_places(prompts, [[Tiles(np.zeros((0, 4, 4, 3), np.uint8), "", (), grid) for grid in row.grids] for row in rows])


def random_like(shapes):
    """Random parameters; norms stay near 1."""
    random = np.random.default_rng(1)
    draw = lambda path, leaf: np.float32(path[-1].key == "scale") + random.normal(size=leaf.shape).astype(np.float32) * 0.3
    return jax.tree_util.tree_map_with_path(draw, shapes)


def pretrained(kind):
    """rows -> answers of a model of this type."""
    config = FAMILIES[kind] | {"model_type": kind}
    embedding = "model.embed_tokens.weight" if kind == "qwen2_vl" else "language_model.model.embed_tokens.weight"
    read = BY_MODEL_TYPE[kind](Source("here", config, {embedding: np.zeros(1)}))
    variables = random_like(jax.eval_shape(read.module.init, jax.random.key(0), read.example_input))
    answers = answer_ids(Pretrained(read, variables, None, (), config, None), NEW)
    return lambda rows: answers(prompts_of(kind, rows))


def flamingo():
    """rows -> answers; an image is four vectors, its first 24 numbers."""
    model = LanguageModel(VOCABULARY, width=16, depth=2, heads=2, kv_heads=1, hidden=12, end=2, positions=64)
    model = Flamingo(model, heads=2, hidden=6, images=LastImage(MARKER, VECTORS))
    ids = Padded(jnp.ones((1, 2), jnp.int32), jnp.array([2]))
    memory = Tokens(jnp.zeros((1, VECTORS, WIDTH)), jnp.ones((1, VECTORS), bool))
    variables = random_like(jax.eval_shape(model.init, jax.random.key(0), ids, memory))

    @jax.jit
    def run(memory, ids):
        cache = model.apply(variables, memory, ids.x.shape[1] + NEW, 1, method="init_cache")
        return greedy(lambda ids, cache: model.apply(variables, ids, cache, method="step"), cache, ids, NEW, 2)

    def answers(rows):
        batch, ids = prompts_of("flamingo", rows)
        images = batch.inputs["image"]
        vectors = images.x.reshape(*images.x.shape[:2], -1)[..., : VECTORS * WIDTH].reshape(len(rows), -1, WIDTH)
        return run(Tokens(jnp.asarray(vectors), jnp.repeat(images.mask, VECTORS, axis=1)), jax.tree.map(jnp.asarray, ids))

    return answers


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*FAMILIES, "flamingo"])
def test_answers_in_one_batch_are_those_alone(kind):
    answers: Any = flamingo() if kind == "flamingo" else pretrained(kind)
    rows = rows_of(kind)
    whole = answers(rows)
    together = [row[:length].tolist() for row, length in zip(np.asarray(whole.x), np.asarray(whole.length))]
    assert len(set(map(tuple, together))) > 50
    alone = [np.asarray(found.x)[0, : int(found.length[0])].tolist() for found in (answers([row]) for row in rows)]
    differing = [number for number in range(PROMPTS) if alone[number] != together[number]]
    assert not differing, f"{len(differing)} of {PROMPTS} answers differ"
