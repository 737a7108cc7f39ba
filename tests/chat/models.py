"""Tiny models with images or recordings and a chat template, with random weights."""

import json
from pathlib import Path

import numpy as np

from mmjax.pretrained.files import write_arrays
from tests.pretrained.tiny import LANGUAGE, byte_tokenizer, random_tensors, vision_language_folder

PARTS = "{% if part.type == 'text' %}{{ part.text }}{% else %}MARKER{% endif %}"
TEMPLATE = (
    "{% for m in messages %}{{ {'system': 'S', 'user': 'Q', 'assistant': 'A'}[m.role] }}"
    f"{{% for part in m.content %}}{PARTS}{{% endfor %}};{{% endfor %}}"
)
RATE = 16_000


def with_template(folder: Path, marker: str) -> Path:
    settings = {"chat_template": TEMPLATE.replace("MARKER", marker)}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def sees(folder: Path) -> Path:
    """LLaVA for images of 8 px; four vectors stand for an image."""
    return with_template(vision_language_folder(folder), "<image>")


def hears(folder: Path) -> Path:
    """Qwen2-Audio for recordings of at most 1.6 s; five vectors stand for 0.2 s."""
    library = byte_tokenizer("<|AUDIO|>")
    audio = {"num_mel_bins": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8, "d_model": 8}
    text = LANGUAGE | {"vocab_size": library.get_vocab_size(), "max_position_embeddings": 256}
    config = {"model_type": "qwen2_audio", "text_config": text, "audio_token_index": 3}
    config["audio_config"] = audio | {"max_source_positions": 80}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    library.save(str(folder / "tokenizer.json"))
    empty = {"language_model.model.embed_tokens.weight": np.zeros(1)}
    write_arrays(folder / "model.safetensors", random_tensors(0, config, empty))
    return with_template(folder, "<|AUDIO|>")


def tone(hertz: float, seconds: float = 0.2) -> tuple[np.ndarray, int]:
    """A recording."""
    return np.sin(2 * np.pi * hertz * np.arange(int(RATE * seconds)) / RATE).astype(np.float32), RATE
