"""The trimodal model of the rows ablation and subsets in plain torch: three encoders, a fusion and a classifier."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.fusion_specs import Spec
from benchmarks.torch_fusions import EarlyTransformer, build, lstm


class Trimodal(nn.Module):
    """3x3 convolutions on images, an LSTM over words, a dense layer and an LSTM over audio frames; a fusion; a classifier.

    channels: of each convolution. width: of the LSTMs. side: of the square image in pixels.
    """

    def __init__(self, fusion: Spec, channels: Sequence[int], width: int, side: int, vocabulary: int, bands: int, classes: int):
        super().__init__()
        self.encoders_image = nn.Module()
        for stage, (before, after) in enumerate(zip((3, *channels), channels)):
            self.encoders_image.add_module(f"stage{stage}", nn.Conv2d(before, after, 3, padding=1))
        self.encoders_text, self.encoders_audio = nn.Module(), nn.Module()
        self.encoders_text.embed = nn.Embedding(vocabulary, width)
        self.encoders_text.layer = lstm(width, width)
        self.encoders_audio.frame = nn.Linear(bands, width)
        self.encoders_audio.layer = lstm(width, width)
        cells = (side // 2 ** len(channels)) ** 2
        self.fusion = build(fusion, {"audio": (1, width), "image": (cells, channels[-1]), "text": (1, width)})
        self.heads_label = nn.Module()
        self.heads_label.dense = nn.Linear(self.fusion.size[1], classes)

    def encode(self, image: Tensor, text: Tensor, audio: Tensor) -> dict[str, Tensor]:
        for convolution in self.encoders_image.children():
            image = F.relu(F.max_pool2d(convolution(image), 2))
        text = self.encoders_text.layer(self.encoders_text.embed(text))[0][:, -1:]
        audio = self.encoders_audio.layer(F.relu(self.encoders_audio.frame(audio)))[0][:, -1:]
        return {"audio": audio, "image": image.flatten(2).transpose(1, 2), "text": text}

    def decode(self, tokens: Mapping[str, Tensor], subset: Sequence[str] = ("audio", "image", "text")) -> Tensor:
        """The logits. A Transformer gets no tokens of modalities outside the subset; other fusions get zeros."""
        present = {name: tokens[name] for name in subset}
        if not isinstance(self.fusion, EarlyTransformer):
            present = {name: present.get(name, torch.zeros_like(x)) for name, x in tokens.items()}
        return self.heads_label.dense(self.fusion(present).mean(dim=1))

    def forward(self, image: Tensor, text: Tensor, audio: Tensor) -> Tensor:
        return self.decode(self.encode(image, text, audio))
