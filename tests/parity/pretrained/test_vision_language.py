"""Vision-language models: logits, gradients and greedy tokens equal those of transformers, on random models."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from mmjax.encoders.qwen_audio import Recordings
from mmjax.pretrained.image_prompts import Prompts, Tiles
from mmjax.pretrained.images import BICUBIC, ImagePreprocessing
from mmjax.pretrained.llava_next import AnyResolution, best_size
from mmjax.pretrained.qwen2_audio import vectors_of
from mmjax.pretrained.qwen2_vl import with_places
from mmjax.types import Padded
from tests.parity.pretrained.vision_language_models import IMAGE, TEXT, VISION, assert_answers, original, rows

pytestmark = pytest.mark.parity

CLIP, SIGLIP = (VISION | {"model_type": f"{kind}_vision_model"} for kind in ("clip", "siglip"))
SIGLIP |= {"vision_use_head": False}


def text(kind, **more):
    return {"text_config": TEXT | {"model_type": kind} | more}


def channels_first(images):
    """None without an image."""
    return images.permute(0, 3, 1, 2) if len(images) else None


LLAVA = {
    "clip_llama": {**text("llama"), "vision_config": CLIP},
    "siglip_qwen2": {
        **text("qwen2", tie_word_embeddings=True),
        "vision_config": SIGLIP,
        "vision_feature_select_strategy": "full",
        "vision_feature_layer": -1,
        "multimodal_projector_bias": False,
        "projector_hidden_act": "silu",
    },
}


@pytest.mark.parametrize("case", LLAVA)
def test_llava(case, tmp_path):
    theirs = original("llava", seed=len(case), image_token_index=IMAGE, **LLAVA[case])

    def forward(ids, images):
        return theirs(input_ids=ids, pixel_values=channels_first(images)).logits

    assert_answers(theirs, tmp_path, *rows(9, 12), forward)


def test_llava_next(tmp_path):
    """Tiles of 12 pixels with 3 x 3 vectors. A wide and a high image in one prompt, a square one in another."""
    import torch

    sizes = ((12, 24), (24, 12), (24, 24), (36, 12))
    grid = {"image_grid_pinpoints": [list(size) for size in sizes]}
    theirs = original("llava_next", image_token_index=IMAGE, **LLAVA["clip_llama"], **grid)
    vectors = AnyResolution(ImagePreprocessing(None, BICUBIC, None), sizes, 12, (3, 3)).vectors
    images = [[(10, 35), (100, 28)], [], [(20, 19)]]
    tiles = [[1 + math.prod(best_size(size, sizes)) // 144 for size in row] for row in images]
    numbers, ids = [], []
    for row, counts in zip(images, tiles):
        first, own, tokens = 1, [], [1, 5]
        for size, count in zip(row, counts):
            own += [0 if number < 0 else first + number for number in vectors(size)]
            tokens += [*[IMAGE] * len(vectors(size)), 9]
            first += 9 * count
        numbers.append(own)
        ids.append([*tokens, 11, 7])
    random = np.random.default_rng(0)
    pixels = [random.normal(size=(sum(counts), 12, 12, 3)).astype(np.float32) for counts in tiles]
    of = {sum(counts): row for row, counts in enumerate(tiles)}

    def forward(ids, pixels):
        if not len(pixels):
            return theirs(input_ids=ids).logits
        row = of[len(pixels)]
        parts = torch.split(channels_first(pixels), tiles[row])
        joined = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        return theirs(input_ids=ids, pixel_values=joined, image_sizes=torch.tensor(images[row])).logits

    assert_answers(theirs, tmp_path, ids, pixels, forward, numbers)


@pytest.mark.parametrize("version", [4, 5])
def test_qwen2_vl(version, tmp_path):
    """Images of 2 x 3 and 3 x 1 cells in one prompt, and of 1 x 2 in another. Files of transformers 4 have no text_config."""
    import torch

    vision = {"embed_dim": 16, "depth": 2, "num_heads": 2, "hidden_size": 24, "patch_size": 3, "mlp_ratio": 2}
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]}
    sizes = {"hidden_size": 24, "tie_word_embeddings": version == 4, "rope_parameters": rope}
    config = {**text("qwen2_vl_text", **sizes), "vision_config": vision | {"spatial_merge_size": 2}}
    theirs = original("qwen2_vl", image_token_id=IMAGE, vision_start_token_id=57, **config)
    grids = [[(2, 3), (3, 1)], [], [(1, 2)]]
    ids = [[1, 5, 57, *[IMAGE] * 6, 6, *[IMAGE] * 3, 8, 7], [1, 9, 9, 10, 7], [1, *[IMAGE] * 2, 11, 7]]
    random = np.random.default_rng(0)
    count = [sum(rows * columns for rows, columns in row) for row in grids]
    pixels = [random.normal(size=(cells, 6, 6, 3)).astype(np.float32) for cells in count]
    of = dict(zip(count, grids))

    def extend(batch):
        tiles = [[Tiles(np.zeros((0, 6, 6, 3), np.uint8), "", (), grid) for grid in row] for row in grids]
        return with_places(Prompts(batch, Padded(np.zeros((3, 1), np.int32), np.ones(3, np.int32))), tiles).batch

    def forward(ids, cells):
        if not len(cells):
            return theirs(input_ids=ids).logits
        grid = torch.tensor([(1, 2 * rows, 2 * columns) for rows, columns in of[len(cells)]])
        patches = cells.reshape(-1, 2, 3, 2, 3, 3).permute(0, 1, 3, 5, 2, 4).reshape(-1, 3, 1, 9).expand(-1, -1, 2, -1)
        flat, kinds = patches.reshape(len(patches), -1), (ids == IMAGE).int()
        return theirs(input_ids=ids, pixel_values=flat, image_grid_thw=grid, mm_token_type_ids=kinds).logits

    if version == 4:
        save = theirs.save_pretrained
        theirs.save_pretrained = lambda folder: (save(folder), flattened(folder / "config.json"))
    assert_answers(theirs, tmp_path, ids, pixels, forward, extend=extend)


def flattened(file):
    """The config as transformers 4 wrote it."""
    config = json.loads(file.read_text())
    own = config.pop("text_config")
    rope = own.pop("rope_parameters")
    own |= {"rope_theta": rope["rope_theta"], "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]}}
    file.write_text(json.dumps(own | config))


def test_qwen2_audio(tmp_path):
    """Recordings of 13 and 24 frames in one prompt, and of 7 in another, all with silence up to 24."""
    import torch

    audio = {"num_mel_bins": 5, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 12, "d_model": 8}
    config = {**text("qwen2"), "audio_config": audio | {"max_source_positions": 12}, "audio_token_index": IMAGE}
    theirs = original("qwen2_audio", **config)
    lengths = [[13, 24], [], [7]]
    heard = [[vectors_of(length) for length in row] for row in lengths]
    assert heard == [[3, 6], [], [2]]
    ids = [[1, 5, *[IMAGE] * 3, 6, *[IMAGE] * 6, 8, 7], [1, 9, 9, 10, 7], [1, *[IMAGE] * 2, 11, 7]]
    numbers = [[6 * k + number for k, count in enumerate(row) for number in range(count)] for row in heard]
    random = np.random.default_rng(0)
    frames = [random.normal(size=(len(row), 24, 5)).astype(np.float32) for row in lengths]
    of = {len(row): row for row in lengths}
    sizes = np.array([(*row, 0, 0)[:2] for row in lengths], np.int32)

    def extend(batch):
        inputs = {"audio": Recordings(batch.inputs["image"].x, jnp.asarray(sizes))}
        return batch.replace(inputs=inputs, present={"audio": batch.present["image"]})

    def forward(ids, frames):
        if not len(frames):
            return theirs(input_ids=ids).logits
        mask = (torch.arange(24)[None] < torch.tensor(of[len(frames)])[:, None]).int()
        ones = torch.ones_like(ids)
        mel = frames.permute(0, 2, 1)
        return theirs(input_ids=ids, input_features=mel, feature_attention_mask=mask, attention_mask=ones).logits

    assert_answers(theirs, tmp_path, ids, frames, forward, numbers, extend)


@pytest.mark.parametrize("kind", ["gemma", "gemma2"])
def test_paligemma(kind, tmp_path):
    """Gemma 2 has local layers, whose window of 4 the prefix ignores. Token 108 ends the prefix of every prompt."""
    import torch

    local = {"sliding_window": 4, "query_pre_attn_scalar": 8} if kind == "gemma2" else {}
    config = text(kind, head_dim=4, vocab_size=128, **local)
    sizes = {"projection_dim": 12, "hidden_size": 12, "vision_config": SIGLIP | {"projection_dim": 12}}
    theirs = original("paligemma", seed=3, image_token_index=IMAGE, **config, **sizes)

    def forward(ids, images):
        after = torch.cumsum(ids == 108, dim=1) - (ids == 108).int()
        return theirs(input_ids=ids, pixel_values=channels_first(images), token_type_ids=after.clamp(max=1)).logits

    assert_answers(theirs, tmp_path, *rows(9, 12, last=108), forward)


@pytest.mark.parametrize("kind", ["idefics3", "smolvlm"])
def test_idefics3(kind, tmp_path):
    vision = VISION | {"image_size": 16, "patch_size": 2 if kind == "smolvlm" else 4}
    sizes = {"scale_factor": 4 if kind == "smolvlm" else 2, "vision_config": vision}
    theirs = original(kind, image_token_id=IMAGE, **text("llama"), **sizes)

    def forward(ids, images):
        return theirs(input_ids=ids, pixel_values=channels_first(images)[None] if len(images) else None).logits

    assert_answers(theirs, tmp_path, *rows(4, 16), forward)


@pytest.mark.parametrize("layers", ["sliding", "full"])
def test_gemma3(layers, tmp_path):
    """The window of a local layer is 3, less than the 4 vectors of an image."""
    kinds = ["sliding_attention", "full_attention" if layers == "full" else "sliding_attention"]
    config = text("gemma3_text", head_dim=4, sliding_window=3, layer_types=kinds, query_pre_attn_scalar=8)
    vision = SIGLIP | {"image_size": 16}
    theirs = original(
        "gemma3", seed=len(layers), image_token_index=IMAGE, mm_tokens_per_image=4, **config, vision_config=vision
    )

    def forward(ids, images):
        return theirs(input_ids=ids, pixel_values=channels_first(images), token_type_ids=(ids == IMAGE).int()).logits

    assert_answers(theirs, tmp_path, *rows(4, 16), forward)
