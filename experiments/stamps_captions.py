"""Captions: does a voice help to describe an image?

A model writes the English name of a stamp, such as "A green frog.", from its image, from a description spoken in French,
Russian or Spanish, or from both. The image is the token grid of a frozen EfficientNet-Lite0, the speech the mean output of the
frozen encoder of Whisper tiny.en; `JoinTokens` makes them one memory. A cross-attention Transformer is compared with the
attention LSTM of Show, Attend and Tell (Xu et al., 2015). Every model is scored with greedy and with beam search. `wrong_image`
and `wrong_audio` test whether the trained model looks and listens at all: each example gets the input of another one.
"""

from dataclasses import replace

from stamps_fusion import BASE as SCRATCH

from mmjax.data.augment import DropModalities
from mmjax.data.text import Words
from mmjax.data.text_target import TextTarget
from mmjax.decoders import AttentionLSTM, Decoder
from mmjax.encoders import Features
from mmjax.experiment import Experiment, main
from mmjax.fusion import JoinTokens
from mmjax.losses import CrossEntropy, On
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.tasks import Generate
from mmjax.tasks.search import Beam, Greedy
from mmjax.train.optim import AdamW

WIDTH, VOCABULARY = 96, 512
STAMPS = replace(SCRATCH.data, speech_languages=("es", "fr", "ru"), seconds=3.0)
FEATURES = CachedFeatures(STAMPS, tokens=("image",), sound_seconds=STAMPS.seconds)
GREEDY = Generate(
    "caption", search=Greedy(12), scores=("cider_d", "bleu1", "bleu4", "exact_match_lower"), nearest=("image", "audio")
)

BASE = Experiment(
    data=TextTarget(FEATURES, target_tokenizer=Words(VOCABULARY), target_tokens=12),
    encoders={name: Features(width=WIDTH, dropout=0.2) for name in ("image", "audio")},
    fusion=JoinTokens(width=WIDTH, dropout=0.1),
    decoders={"caption": Decoder(VOCABULARY, width=WIDTH, depth=2, heads=4, hidden=256, positions=16, dropout=0.2)},
    loss=On("caption", CrossEntropy(smoothing=0.1)),
    tasks={"caption": GREEDY, "beam": replace(GREEDY, search=Beam(4, 12))},
    select="caption.bleu1",
    groups=("language",),
    steps=1000,
    evaluate_every=100,
    optim=AdamW(lr=2e-3, decay=0.05),
    augment={"modalities": DropModalities(0.2)},
)


def of(modality: str) -> Experiment:
    return replace(BASE, encoders={modality: BASE.encoders[modality]}, augment={})


ABLATIONS = {
    "both": BASE,
    "image": of("image"),
    "audio": of("audio"),
    "wrong_image": replace(BASE, attack=WrongPairs(("image",))),
    "wrong_audio": replace(BASE, attack=WrongPairs(("audio",))),
    "lstm": replace(BASE, decoders={"caption": AttentionLSTM(VOCABULARY, width=WIDTH, dropout=0.2)}),
}

if __name__ == "__main__":
    main(ABLATIONS)
