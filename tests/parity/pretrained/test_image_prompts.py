"""Prompts with images equal those of transformers' processors: token ids, placeholders and tiles, and the generated text."""

import numpy as np
import pytest
from PIL import Image

from mmjax.pretrained import WeightsError, load
from mmjax.pretrained.answering import answerer, interleaved, main, question
from tests.parity.pretrained.vision_language_models import TEXT, VISION, original

pytestmark = pytest.mark.parity

SPECIAL = [
    "<pad>", "<s>", "</s>", "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<start_of_image>",
    "<end_of_image>", "<image_soft_token>", "\n", "<|image_pad|>", "<|AUDIO|>",
    *(f"<row_{row}_col_{column}>" for row in (1, 2, 3) for column in (1, 2, 3)),
]  # fmt: skip
WORDS = "What is this? Compare both images, left and right. Describe the picture in one line."
CLIP, SIGLIP = (VISION | {"model_type": f"{kind}_vision_model"} for kind in ("clip", "siglip"))
SQUARE = {"height": 12, "width": 12}


def tokenizer():
    """Pairs of bytes; a start token before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokens = Tokenizer(models.BPE())
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokens.train_from_iterator([WORDS], trainer)
    tokens.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    extra = {"image_token": "<image>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<s>", eos_token="</s>", pad_token="<pad>", extra_special_tokens=extra
    )


def text(kind, **more):
    sizes = TEXT | {"vocab_size": 400, "max_position_embeddings": 600, "eos_token_id": 2}
    return {"text_config": sizes | {"model_type": kind} | more}


def pictures(*sizes):
    random = np.random.default_rng(4)
    return [Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)) for size in sizes]


def llava(transformers, tokens):
    sizes = {"size": {"shortest_edge": 12}, "crop_size": SQUARE}
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessorPil(**sizes), tokens, patch_size=4, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip
    model = original("llava", image_token_index=3, **text("llama"), vision_config=CLIP)
    return model, processor, "<image>"


def llava_next(transformers, tokens):
    sizes = {"size": {"shortest_edge": 12}, "crop_size": SQUARE}
    grid = {"image_grid_pinpoints": [[12, 24], [24, 12], [24, 24], [36, 12]]}
    processor = transformers.LlavaNextProcessor(
        transformers.LlavaNextImageProcessorPil(**sizes, **grid), tokens, patch_size=4,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    model = original("llava_next", image_token_index=3, **grid, **text("llama"), vision_config=CLIP)
    return model, processor, "<image>"


def paligemma(transformers, tokens):
    images = transformers.SiglipImageProcessorPil(size=SQUARE, image_seq_length=9)
    images.image_seq_length = 9
    vision = SIGLIP | {"projection_dim": 12, "vision_use_head": False}
    sizes = {"projection_dim": 12, "hidden_size": 12, "vision_config": vision}
    model = original("paligemma", image_token_index=3, **text("gemma", head_dim=4), **sizes)
    return model, transformers.PaliGemmaProcessor(images, tokens), "<image>"


def idefics3(transformers, tokens):
    images = transformers.Idefics3ImageProcessorPil(size={"longest_edge": 40}, max_image_size={"longest_edge": 16})
    model = original("idefics3", image_token_id=3, **text("llama"), vision_config=VISION | {"image_size": 16})
    return model, transformers.Idefics3Processor(images, tokens, image_seq_len=4), "<image>"


def idefics3_whole(transformers, tokens):
    images = transformers.Idefics3ImageProcessorPil(
        do_image_splitting=False, do_resize=False, max_image_size={"longest_edge": 16}
    )
    model = original("smolvlm", image_token_id=3, **text("llama"), vision_config=VISION | {"image_size": 16})
    return model, transformers.Idefics3Processor(images, tokens, image_seq_len=4), "<image>"


def gemma3(transformers, tokens):
    tokens.image_token, tokens.image_token_id = "<image_soft_token>", 9
    images = transformers.Gemma3ImageProcessorPil(size={"height": 16, "width": 16})
    vision = SIGLIP | {"image_size": 16, "vision_use_head": False}
    config = {"image_token_index": 9, "boi_token_index": 7, "eoi_token_index": 8, "mm_tokens_per_image": 4}
    model = original("gemma3", **config, **text("gemma3_text", head_dim=4), vision_config=vision)
    return model, transformers.Gemma3Processor(images, tokens, image_seq_length=4), "<start_of_image>"


@pytest.mark.parametrize("make", [llava, llava_next, paligemma, idefics3, idefics3_whole, gemma3])
def test_prompts(make, tmp_path):
    """Two images, one, and none (of which PaliGemma's processor has no prompts); wide, high, small and large images."""
    import transformers

    model, processor, marker = make(transformers, tokenizer())
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    weights = load(tmp_path)
    examples = [
        {"text": f"{marker} What is this? {marker} Compare both.", "images": pictures((30, 50), (50, 13))},
        {"text": "Describe the line.", "images": []},
        {"text": f"Describe {marker}", "images": pictures((9, 10))},
        {"text": f"{marker}{marker}{marker}right", "images": pictures((12, 12), (200, 180), (1, 31))},
    ]
    examples = [one for one in examples if one["images"] or make is not paligemma]
    found = weights.preprocessing.batch(examples)
    images = found.batch.inputs["image"]
    vocabulary = weights.module.decoders["text"].vocabulary
    for row, example in enumerate(examples):
        theirs = processor(text=example["text"], images=example["images"] or None, return_tensors="np")
        ids, placeholder = theirs["input_ids"][0].tolist(), weights.preprocessing.placeholder
        own = found.ids.x[row, : found.ids.length[row]]
        assert np.where(own < vocabulary, own, placeholder).tolist() == ids
        if make is not llava_next:  # whose order is in test_vision_language.py
            assert own[own >= vocabulary].tolist() == [vocabulary + number for number in range(ids.count(placeholder))]
        assert bool(found.batch.present["image"][row]) == bool(example["images"])
        if example["images"]:
            pixels = np.asarray(theirs["pixel_values"]).reshape(-1, 3, *images.x.shape[2:4]).transpose(0, 2, 3, 1)
            if make is llava_next:  # whose images are padded to the same number of tiles
                pixels = pixels[np.abs(pixels).max(axis=(1, 2, 3)) > 0]
            np.testing.assert_allclose(images.x[row, : images.length[row]], pixels, atol=1e-5)


def test_prompts_of_qwen2_vl(tmp_path):
    """Images of their own size; the patches of transformers are those of our cells, twice for two frames. Its processor of
    prompts needs torchvision, so the rule of its `replace_image_token` is written here."""
    import transformers

    vision = {"embed_dim": 16, "depth": 1, "num_heads": 2, "hidden_size": 24, "patch_size": 3, "mlp_ratio": 2}
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]}
    config = text("qwen2_vl_text", hidden_size=24, rope_parameters=rope, eos_token_id=2)
    original("qwen2_vl", image_token_id=11, vision_config=vision, **config).save_pretrained(tmp_path)
    tokens, size = tokenizer(), {"shortest_edge": 200, "longest_edge": 700}
    processor = transformers.Qwen2VLImageProcessorPil(patch_size=3, size=size)
    processor.save_pretrained(tmp_path)
    tokens.save_pretrained(tmp_path)
    weights = load(tmp_path)
    examples = [
        {"text": "<|image_pad|> What is this? <|image_pad|>", "images": pictures((30, 50), (50, 13))},
        {"text": "Describe the line.", "images": []},
        {"text": "Describe <|image_pad|>", "images": pictures((3, 4))},
        {"text": "<|image_pad|>left<|image_pad|>", "images": pictures((12, 24), (1, 31))},
    ]
    found = weights.preprocessing.batch(examples)
    cells = found.batch.inputs["image"]
    for row, example in enumerate(examples):
        theirs = processor(example["images"], return_tensors="np") if example["images"] else {"image_grid_thw": ()}
        first, *rest = example["text"].split("<|image_pad|>")
        pads = ["<|image_pad|>" * (np.prod(grid) // 4) + text for grid, text in zip(theirs["image_grid_thw"], rest)]
        own = found.ids.x[row, : found.ids.length[row]]
        assert np.where(own < 400, own, 11).tolist() == tokens(first + "".join(pads))["input_ids"]
        count = (own >= 400).sum()
        assert own[own >= 400].tolist() == list(range(400, 400 + count)) and (cells.place[row, :, 2] > 0).sum() == count
        if example["images"]:
            assert cells.place[row, :count].max(axis=0).tolist()[2] == len(example["images"])
            rows_columns = np.array(theirs["image_grid_thw"])[:, 1:] // 2
            assert (rows_columns.prod(axis=1).sum(), rows_columns.max()) == (count, cells.place[row, :, :2].max() + 1)
            patches = np.asarray(cells.x)[row, :count].reshape(-1, 2, 3, 2, 3, 3).transpose(0, 1, 3, 5, 2, 4)
            patches = np.repeat(patches.reshape(-1, 3, 1, 9), 2, axis=2).reshape(-1, 54)
            np.testing.assert_allclose(patches, theirs["pixel_values"], atol=1e-5)
    answers = answerer(weights, max_tokens=3)
    assert answers(examples)[1:2] == answers([examples[1]])  # of a batch without any image


def test_prompts_and_answers_of_qwen2_audio(tmp_path):
    """Recordings of up to one second, some of which are cut; frames, ids and generated texts."""
    import transformers

    audio = {"num_mel_bins": 6, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 12, "d_model": 8}
    config = {"audio_config": audio | {"max_source_positions": 50}, "audio_token_index": 12, **text("qwen2")}
    model, tokens = original("qwen2_audio", **config), tokenizer()
    features = transformers.WhisperFeatureExtractor(feature_size=6, chunk_length=1)
    processor = transformers.Qwen2AudioProcessor(features, tokens)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    weights = load(tmp_path)
    random = np.random.default_rng(2)
    waves = [(random.normal(size=size).astype(np.float32) * 0.1, 16_000) for size in (9000, 16_000, 20_000, 700)]
    examples = [
        {"text": "<|AUDIO|> What is this? <|AUDIO|>", "audio": waves[:2]},
        {"text": "Describe the line.", "audio": []},
        {"text": "Compare <|AUDIO|><|AUDIO|>", "audio": waves[2:]},
    ]
    found, answers = weights.preprocessing.batch(examples), answerer(weights, max_tokens=4)(examples)
    sound = found.batch.inputs["audio"]
    for row, (example, answer) in enumerate(zip(examples, answers)):
        audio = [wave for wave, _ in example["audio"]] or None
        given = processor(text=example["text"], audio=audio, sampling_rate=16_000, return_tensors="pt")
        own = found.ids.x[row, : found.ids.length[row]]
        assert np.where(own < 400, own, 12).tolist() == given["input_ids"][0].tolist()
        if example["audio"]:
            assert given["feature_attention_mask"].sum(-1).tolist() == sound.length[row].tolist()
            np.testing.assert_allclose(sound.x[row], given["input_features"].numpy().transpose(0, 2, 1), atol=1e-5)
        ids = model.generate(**given, max_new_tokens=4, do_sample=False)[0, given["input_ids"].shape[1] :]
        assert answer == tokens.decode(ids, skip_special_tokens=True)


def test_answers(tmp_path, capsys):
    """The texts of a batch equal those of transformers' `generate`, one prompt at a time; also from the command line."""
    import transformers

    model, processor, marker = llava(transformers, tokenizer())
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    examples = [
        {"text": f"{marker} What is this? {marker}", "images": pictures((30, 50), (50, 13))},
        {"text": "Describe the line.", "images": []},
        {"text": f"Describe {marker}", "images": pictures((9, 10))},
    ]
    found = answerer(load(tmp_path), max_tokens=5)(examples)
    for answer, example in zip(found, examples):
        given = processor(text=example["text"], images=example["images"] or None, return_tensors="pt")
        ids = model.generate(**given, max_new_tokens=5, do_sample=False)[0, given["input_ids"].shape[1] :]
        assert answer == processor.tokenizer.decode(ids, skip_special_tokens=True)
    examples[-1]["images"][0].save(tmp_path / "a.png")
    main([str(tmp_path), examples[-1]["text"], str(tmp_path / "a.png"), "--max-tokens", "5"])
    assert capsys.readouterr().out == found[-1] + "\n"
    assert answerer(load(tmp_path), max_tokens=5)([examples[1]]) == found[1:2]  # a batch without any image
    with pytest.raises(SystemExit, match=r"error: 'text' has 1 times '<image>', but there are 0 'images'"):
        main([str(tmp_path), examples[-1]["text"]])


def test_a_question_in_the_chat_template(tmp_path):
    """The start token of the template is left to the tokenizer."""
    import transformers

    model, processor, marker = llava(transformers, tokenizer())
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    weights = load(tmp_path)
    assert question(weights, "What?", [1, 2]) == {"text": f"{marker}{marker}What?", "images": [1, 2]}
    assert question(weights, f"A {marker}?", [1])["text"] == f"A {marker}?"
    processor.chat_template = (
        "{{ bos_token }}{% for message in messages %}USER: {% for part in message.content %}"
        "{{ '<image>\n' if part.type == 'image' else part.text }}{% endfor %} ASSISTANT:{% endfor %}"
    )
    processor.save_pretrained(tmp_path)
    image, words = {"type": "image"}, [{"type": "text", "text": text} for text in ("What?", "Is", "as")]
    theirs = lambda *content: processor.apply_chat_template([{"role": "user", "content": content}])
    assert "<s>" + question(weights, "What?", [1])["text"] == theirs(image, words[0])
    between = interleaved(weights, ["Is", 2, "as", 1, "What?"])
    assert "<s>" + between["text"] == theirs(words[1], image, words[2], image, words[0]) and between["images"] == [2, 1]


def test_bad_examples(tmp_path):
    import transformers

    model, processor, marker = llava(transformers, tokenizer())
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"came without preprocessor_config\.json"):
        load(tmp_path).preprocessing.read({"text": marker, "images": pictures((3, 3))})
    with pytest.raises(ValueError, match=r"came without tokenizer\.json"):
        load(tmp_path).preprocessing.read({"text": "What?"})
    processor.save_pretrained(tmp_path)
    read = load(tmp_path).preprocessing.read
    with pytest.raises(ValueError, match=r"'text' has 1 times '<image>', but there are 2 'images'; each needs its place"):
        read({"text": marker, "images": pictures((3, 3), (4, 4))})
    with pytest.raises(ValueError, match=r"a prompt has more than 600 tokens, images included, the limit of the model"):
        read({"text": marker + "?" * 700, "images": pictures((3, 3))})
    with pytest.raises(ValueError, match=r"'text' has a line break, which ends the prefix of PaliGemma"):
        from mmjax.pretrained.paligemma import PrefixText

        PrefixText("<bos>")("two\nlines")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vision_feature_select_strategy", "full", "vision_feature_select_strategy = 'full'; it must be 'default' with"),
        ("vision_feature_layer", -9, "selects the hidden states -9 of 3 blocks"),
        ("text_config", {"model_type": "mamba"}, "text_config: config.json has model_type = 'mamba'; supported are llama, "),
        ("vision_config", {"model_type": "pixtral"}, "model_type = 'pixtral'; supported are clip_vision_model"),
    ],
)
def test_configs_that_are_not_supported(field, value, message, tmp_path):
    import json

    original("llava", image_token_index=3, **text("llama"), vision_config=CLIP).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(WeightsError, match=message):
        load(tmp_path)


def test_defaults_of_omitted_fields():
    """Published files omit fields of text_config; transformers' defaults are ours."""
    import transformers

    from mmjax.pretrained.vision_language import TEXT_DEFAULTS

    for kind, defaults in TEXT_DEFAULTS.items():
        theirs = transformers.CONFIG_MAPPING[kind]()
        assert {name: getattr(theirs, name) for name in defaults} == defaults, kind
