"""CMU-MOSI: is an utterance positive or negative, from its words, the voice and the face, alone and among its neighbours?

The features and the official split are those of Poria et al., "Context-dependent sentiment analysis in user-generated videos"
(ACL 2017), who report 80.3 % with all three and the whole video as context (bc-LSTM). Two families, on the same 752 test
utterances: each utterance alone, by every fusion of the library; and in context, a video's utterances as one sequence with an
output for each, by an LSTM one way, both ways, and self-attention. Contextual fusion is theirs: unimodal networks are trained
first, then a second one over their concatenated outputs (`bc_*`); `joint_all` trains both together. Departures: smaller
models, Adam, 10 seeds. The features are 273 numbers, so the full size is this one.

Selection is on 12 videos cut from the 62 training videos, never on test; and it can choose next to nothing, because the
published features know those videos. A linear model trained on 50 of them is right in 98 % of the other 12 from the words and
in 92 % from the face, and on test in 76 % and 52 %: the networks that made the features had learnt from the labels of all 62.
So settings were set so that training converges, not tuned; and a fusion learns to trust the face as it should not on test.

The data are not ours to ship: name their folder (layout: mmjax/data/mosi/files.py; or the error says whom to ask).

Run: python experiments/mosi_sentiment.py --data.root FOLDER --seeds 10
     python experiments/mosi_sentiment.py text text_bilstm bc_all --data.root FOLDER
Time: about 9 min on 2 cores (994 CPU seconds; 15 min of the clock beside other work), 2.1 GB
Expected: accuracy in % on test, mean of 10 seeds [95 % interval over videos and seeds]. Alone: one modality by itself; pairs
are the trimodal `concat` with the third withheld, which it was trained for by modality dropout. In context: *_bilstm for one
modality, bc_* for more. The published column is bc-LSTM's, as remembered and to be checked against the paper, which gives no
seeds or intervals. Majority class of the training videos 37.9, of the test videos 62.1; TF-IDF + SVM on the words 70.6.
    subset               logistic regression   alone               in context          published
    text                        75.7           75.9 [73.1, 78.9]   78.9 [76.2, 81.8]   78.1
    audio                       55.7           51.1 [47.7, 54.6]   52.6 [45.8, 59.7]   60.3
    video                       51.5           54.9 [50.3, 59.1]   56.7 [51.1, 62.0]   55.8
    audio+text                  75.1           75.7                78.8 [75.9, 81.8]   79.3
    text+video                  77.5           76.3                78.8 [76.0, 81.7]   80.2
    audio+video                 54.8           52.0                54.4 [50.5, 58.0]   62.1
    audio+text+video            76.7           76.3 [73.8, 79.4]   78.7 [75.9, 81.5]   80.3
All three alone, by fusion: concat 76.3, weighted_sum 76.3, gmu 76.3, multiplicative 76.3, gated 76.1, experts 76.1,
product_of_experts 76.1, tensor 76.0, bottleneck 76.0, mult 75.9, perceiver 75.9, mean_logits 75.9, film 75.8, cross_attention
75.8, co_attention 75.8, weighted_logits 75.8, early 75.7, low_rank 74.2, mutan 73.8, mfb 73.3, stacked 72.7, product 71.3.
In context, other layers: text_lstm 77.9, text_attention 76.4; sc_all 77.5, attention_all 77.3, joint_all 78.6.
Verdicts. Context helps the words: +3.0 [+0.7, +5.1] for a two-directional LSTM; voice +1.6 [-4.0, +7.4] and face +1.9 [-0.9,
+4.6] inconclusive; all three +2.4 [+0.3, +4.4] (bc_all - concat). Fusion does not beat the words: -0.2 [-1.7, +1.1] in
context, +0.4 [-0.7, +1.6] alone (concat). 80.3 is not reached, and is inside the interval of bc_all; the order of the
published column, three over two over one, is not reproduced.
"""

from dataclasses import replace
from itertools import combinations

from mmjax import fusion as fuse
from mmjax.data.augment import DropModalities
from mmjax.data.mosi.dataset import Mosi
from mmjax.encoders import Contextual, Features
from mmjax.experiment import Experiment, main
from mmjax.heads import Classifier, EachToken, Mean
from mmjax.losses import On, WeightedLosses
from mmjax.nn import LSTM, Bidirectional
from mmjax.nn.context import SelfAttention
from mmjax.tasks import Classify
from mmjax.train.optim import Adam
from mmjax.train.stages import Stage

CLASSES, WIDTH, DROPOUT = 2, 32, 0.4
MODALITIES = ("audio", "text", "video")

# Each utterance alone.
ALONE = Experiment(
    data=Mosi(),
    encoders={name: Features(WIDTH, DROPOUT) for name in MODALITIES},
    fusion=fuse.Concat(WIDTH, DROPOUT),
    heads={"label": Classifier(CLASSES)},
    tasks={"label": Classify("label")},
    augment={"modalities": DropModalities(0.2)},
    optim=Adam(lr=1e-3),
    steps=100,
    batch=64,
)
BLOCKS = {"width": WIDTH, "heads": 2, "hidden": 2 * WIDTH, "dropout": DROPOUT}
FUSIONS = {
    "concat": fuse.Concat(WIDTH, DROPOUT),
    "weighted_sum": fuse.WeightedSum(WIDTH, DROPOUT),
    "product": fuse.Product(WIDTH, DROPOUT),
    "film": fuse.FiLM("text", WIDTH, DROPOUT),
    "gated": fuse.Gated(WIDTH, DROPOUT),
    "gmu": fuse.GMU(WIDTH, DROPOUT),
    "tensor": fuse.TensorFusion(WIDTH, inner=8, dropout=DROPOUT),
    "low_rank": fuse.LowRank(WIDTH, rank=4, dropout=DROPOUT),
    "multiplicative": fuse.MultiplicativeInteractions(WIDTH, DROPOUT),
    "mfb": fuse.MFB(WIDTH, factors=3, dropout=DROPOUT),
    "mutan": fuse.MUTAN(WIDTH, inner=16, rank=3, dropout=DROPOUT),
    "experts": fuse.MixtureOfExperts(WIDTH, experts=4, hidden=WIDTH, dropout=DROPOUT),
    "early": fuse.EarlyTransformer(depth=1, **BLOCKS),
    "cross_attention": fuse.CrossAttention("text", depth=1, **BLOCKS),
    "co_attention": fuse.CoAttention(depth=1, **BLOCKS),
    "mult": fuse.MulT(depth=1, **BLOCKS),
    "perceiver": fuse.Perceiver(latents=4, depth=1, **BLOCKS),
    "bottleneck": fuse.Bottleneck(tokens=2, fusion_layer=0, depth=2, **BLOCKS),
}
LATE = {
    "mean_logits": fuse.MeanLogits(CLASSES, WIDTH, DROPOUT),
    "weighted_logits": fuse.WeightedLogits(CLASSES, WIDTH, DROPOUT),
    "product_of_experts": fuse.ProductOfExperts(CLASSES, WIDTH, DROPOUT),
    "stacked": fuse.Stacked(CLASSES, WIDTH, DROPOUT),
}


def single(cell: Experiment, name: str) -> Experiment:
    """One modality of it."""
    return replace(cell, encoders={name: cell.encoders[name]}, augment={})


# In context: a row is a video. Functions, since modules that are one object share their parameters.
LAYERS = {
    "lstm": lambda: LSTM(WIDTH),
    "bilstm": lambda: Bidirectional(LSTM(WIDTH // 2)),
    "attention": lambda: SelfAttention(WIDTH, heads=2),
}


def each_output() -> dict[str, EachToken]:
    return {"label": EachToken(Classifier(CLASSES))}


def in_context(layer: str) -> Experiment:
    """Published as unimodal: the layer over the utterances, dropout, a dense layer with ReLU, softmax."""
    return replace(
        ALONE,
        data=Mosi(context=True),
        encoders={name: Contextual(LAYERS[layer](), None, DROPOUT) for name in MODALITIES},
        fusion=fuse.EachStep(fuse.Concat(WIDTH, DROPOUT)),
        heads=each_output(),
        augment={},
        optim=Adam(lr=3e-3),
        steps=60,
        batch=10,
        evaluate_every=20,
    )


def hierarchical(layer: str, names: tuple[str, ...]) -> Experiment:
    """Published as fusion: those, trained alone first; then, over their dense layers side by side, another of the same kind."""
    return replace(
        in_context(layer),
        encoders={name: Contextual(LAYERS[layer](), WIDTH, DROPOUT) for name in names},
        fusion=fuse.ContextOver(fuse.SideBySide(), LAYERS[layer](), WIDTH, DROPOUT),
        unimodal_heads={name: each_output() for name in names},
        loss=On("label"),
        stages=(
            Stage(1.0, learns=("encoders", "unimodal_heads"), loss=WeightedLosses({f"{name}.label": 1.0 for name in names})),
            Stage(1.0, learns=("fusion", "heads")),
        ),
        steps=120,
    )


ABLATIONS = (
    {name: replace(ALONE, fusion=fusion) for name, fusion in FUSIONS.items()}
    | {name: replace(ALONE, fusion=fusion, heads={"label": Mean()}) for name, fusion in LATE.items()}
    | {name: single(ALONE, name) for name in MODALITIES}
    | {f"{name}_{layer}": single(in_context(layer), name) for name in MODALITIES for layer in LAYERS}
    | {f"bc_{'_'.join(pair)}": hierarchical("bilstm", pair) for pair in combinations(MODALITIES, 2)}
    | {
        "bc_all": hierarchical("bilstm", MODALITIES),
        "sc_all": hierarchical("lstm", MODALITIES),
        "attention_all": hierarchical("attention", MODALITIES),
        "joint_all": replace(hierarchical("bilstm", MODALITIES), unimodal_heads={}, stages=()),
    }
)

if __name__ == "__main__":
    main(ABLATIONS)
