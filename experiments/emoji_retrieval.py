"""Emoji by their names: retrieval of concepts that training has not seen, drawn by another artist, in twelve languages.

A query is the name of an emoji in one language, the gallery the drawings of all test concepts by OpenMoji; and the other way
round. Training has the drawings of Google and Twitter with names in ten languages; Japanese and Turkish are only tested. Images
are seen by a frozen EfficientNet-Lite2 or by a CNN from scratch, texts by a bag of subwords from scratch or by a frozen MiniLM,
which knows English. `items` makes all names and drawings of one concept positives of each other, `siglip` replaces the softmax,
and `adapter` adds a residual perceptron to the frozen features. The baseline TF-IDF searches the English keywords of CLDR for
the words of the name.

Run: python experiments/emoji_retrieval.py --seeds 10 --against frozen
Time: @TIME@
Expected: @TABLE@
"""

from dataclasses import replace

import flax.linen as nn

from mmjax.data.emoji.names import EmojiNames
from mmjax.encoders import CNN, BagOfEmbeddings, Features, Pooled
from mmjax.experiment import Experiment, main
from mmjax.heads import Bias, Projection, Temperature
from mmjax.losses import InfoNCE, SigmoidPairs
from mmjax.nn import masked_mean
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.tasks import Retrieve
from mmjax.train.optim import AdamW
from mmjax.types import Tokens

WIDTH, SUBWORDS = 128, 4000
PAIR = ("text.embedding", "image.embedding")
EMOJI = EmojiNames()
IMAGES = CachedFeatures(EMOJI, (("image", "efficientnet-lite2"),))
BOTH = CachedFeatures(EMOJI, (("image", "efficientnet-lite2"), ("text", "minilm")))


class Adapter(nn.Module):
    """Features with a residual perceptron (CLIP-Adapter, Gao et al., 2021, equation 4, with a learned scale)."""

    width: int = WIDTH
    dropout: float = 0.3

    @nn.compact
    def __call__(self, x, *, train: bool = False) -> Tokens:
        tokens = Features(width=self.width, dropout=self.dropout, name="features")(x, train=train)
        hidden = nn.relu(nn.Dense(2 * self.width, name="hidden")(tokens.x))
        scale = self.param("scale", nn.initializers.constant(0.1), ())
        return Tokens(tokens.x + scale * nn.Dense(self.width, name="out")(hidden), tokens.mask)


FROZEN = Experiment(
    data=IMAGES,
    encoders={"image": Features(width=WIDTH, dropout=0.3), "text": BagOfEmbeddings(SUBWORDS, WIDTH, dropout=0.2)},
    unimodal_heads={name: {"embedding": Projection(64)} for name in ("image", "text")},
    loss_parameters={"temperature": Temperature()},
    loss=InfoNCE(*PAIR, temperature="temperature"),
    tasks={"search": Retrieve(*PAIR, match="id", words=("text", "keywords"))},
    select="search.mrr",
    groups=("language",),
    steps=400,
    batch=128,
    evaluate_every=50,
    optim=AdamW(lr=2e-3, decay=0.05),
)

ABLATIONS = {
    "frozen": FROZEN,
    "items": replace(FROZEN, loss=replace(FROZEN.loss, match="item")),
    "siglip": replace(
        FROZEN,
        loss_parameters={"temperature": Temperature(start=0.1), "bias": Bias()},
        loss=SigmoidPairs(*PAIR, temperature="temperature", bias="bias", match="item"),
    ),
    "adapter": replace(FROZEN, encoders={**FROZEN.encoders, "image": Adapter()}),
    "minilm": replace(FROZEN, data=BOTH, encoders={name: Features(width=WIDTH, dropout=0.3) for name in ("image", "text")}),
    "scratch": replace(
        FROZEN, data=EMOJI, encoders={**FROZEN.encoders, "image": Pooled(CNN(widths=(16, 32, 64), dropout=0.1), masked_mean)}
    ),
}

if __name__ == "__main__":
    main(ABLATIONS)
