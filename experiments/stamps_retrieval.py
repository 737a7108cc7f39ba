"""Cross-modal retrieval: find the image, the name or the spoken description of a stamp, given the other modalities.

The gallery holds one modality. A query holds any non-empty subset of the other two: image -> text, speech -> text, image +
speech -> text, and the same for the other galleries. An embedding is the mean of the encoder tokens of its modalities, scaled
to unit length. A candidate is relevant if it is in the leak-free group of the query (stamps that share an image, a name or a
recording); ties count against the model. Three contrastive losses over the pairs of modalities are compared: InfoNCE (van den
Oord et al., 2018; symmetric as in CLIP), pairwise sigmoid (SigLIP; Zhai et al., 2023) and triplets with the hardest negative
(VSE++; Faghri et al., 2018). Each is trained from scratch and on frozen published encoders.

Run: python experiments/stamps_retrieval.py --seeds 10
     python experiments/stamps_retrieval.py scratch_infonce scratch_siglip scratch_triplet --seeds 10     needs no weights
Time: (to be measured)
Expected: (to be measured)
"""

from dataclasses import replace

from mmjax.data.augment import Flip, Shift
from mmjax.data.stamps.dataset import Stamps
from mmjax.encoders import CNN, Features, FrameRNN, Pooled, TextRNN
from mmjax.experiment import Experiment, main
from mmjax.fusion import Append
from mmjax.heads import Bias, Projection, Temperature
from mmjax.losses import InfoNCE, SigmoidPairs, Triplet, WeightedLosses
from mmjax.nn import LSTM, masked_mean
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.tasks import Retrieve
from mmjax.train.optim import AdamW

WIDTH = 32
MODALITIES = ("audio", "image", "text")
PAIRS = (("image", "text"), ("audio", "text"), ("audio", "image"))
STAMPS = Stamps(image_size=24, max_tokens=16, speech_languages=("fr",), seconds=2.0)


def pairwise(loss, **settings) -> WeightedLosses:
    """The sum of this loss over all pairs of modalities."""
    of_pair = {f"{a}-{b}": (loss(f"{a}.embedding", f"{b}.embedding", **settings), 1.0) for a, b in PAIRS}
    return WeightedLosses(of_pair)


def search(gallery: str) -> Retrieve:
    """Retrieval from the gallery of one modality by queries of the others."""
    return Retrieve("embedding", f"{gallery}.embedding", match="group", both=False)


SCRATCH = Experiment(
    data=STAMPS,
    encoders={
        "image": Pooled(CNN(widths=(8, 16, WIDTH), dropout=0.1), masked_mean),
        "text": TextRNN(vocabulary=1000, embedding=32, layer=LSTM(WIDTH), dropout=0.2),
        "audio": FrameRNN(width=32, layer=LSTM(WIDTH), dropout=0.2),
    },
    fusion=Append(),
    heads={"embedding": Projection(None)},
    unimodal_heads={name: {"embedding": Projection(None)} for name in MODALITIES},
    loss_parameters={"temperature": Temperature()},
    loss=pairwise(InfoNCE, temperature="temperature"),
    tasks={f"to_{name}": search(name) for name in ("text", "image", "audio")},
    select="to_text.mrr",
    steps=200,
    batch=64,
    optim=AdamW(lr=3e-3),
    augment={"shift": Shift(2), "flip": Flip(0.5)},
)
FROZEN = replace(
    SCRATCH,
    data=CachedFeatures(STAMPS, sound_seconds=STAMPS.seconds),
    encoders={name: Features(width=128, dropout=0.3) for name in MODALITIES},
    optim=AdamW(lr=1e-3, decay=0.05),
    augment={},
)


def siglip(cell: Experiment) -> Experiment:
    parameters = {"temperature": Temperature(start=0.1), "bias": Bias()}
    return replace(cell, loss_parameters=parameters, loss=pairwise(SigmoidPairs, temperature="temperature", bias="bias"))


def triplet(cell: Experiment) -> Experiment:
    return replace(cell, loss_parameters={}, loss=pairwise(Triplet))


ABLATIONS = {
    "frozen_infonce": FROZEN,
    "frozen_siglip": siglip(FROZEN),
    "frozen_triplet": triplet(FROZEN),
    "scratch_infonce": SCRATCH,
    "scratch_siglip": siglip(SCRATCH),
    "scratch_triplet": triplet(SCRATCH),
}

if __name__ == "__main__":
    main(ABLATIONS)
