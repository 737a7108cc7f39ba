"""Cross-modal attention: words ask, the picture answers. How many heads, which direction, how deep, and how early?

The system of our third source: token embeddings of the words, a 3x3 convolution with ReLU over the picture whose cells are
the picture's tokens (flattened, which the source forgets), softmax(Q K^T / sqrt(d_k)) V with the words as queries, a joint
representation. The ablation turns one knob at a time: heads, direction, depth; and the layer at which bottleneck tokens begin
to carry information between the modalities: early (0), mid (1) or late (never, 3 of 3). Nine kinds of Stamps, from picture and
name.

Run: python experiments/cross_attention.py --seeds 10
     python experiments/cross_attention.py text_asks --full --costs --seeds 1 --batch 8      ViT-B/16, BERT-base, 12 heads
Time: (to be measured)
Expected: (table to be filled)
"""

from dataclasses import replace

from mmjax.data.augment import Flip, Shift
from mmjax.data.stamps_task import Stamps
from mmjax.encoders import BERT, CNN, bert_base, vit_b16
from mmjax.experiment import Experiment, main
from mmjax.fusion import Bottleneck, CoAttention, Concat, CrossAttention, EarlyTransformer
from mmjax.heads import Classifier
from mmjax.train.optim import AdamW

CLASSES = 9
SIZE = {"width": 32, "hidden": 64, "dropout": 0.1}
IMAGE = {"image": CNN(widths=(16, 32), dropout=0.1)}
TEXT = {"text": BERT(vocabulary=1000, width=32, depth=0, heads=4, hidden=64, positions=16, dropout=0.1)}  # embeddings alone
TEXT_ASKS = CrossAttention(query="text", depth=1, heads=4, **SIZE)

BASE = Experiment(
    data=Stamps(image_size=24, max_tokens=16, speech_languages=()),
    encoders=IMAGE | TEXT,
    fusion=TEXT_ASKS,
    heads={"label": Classifier(CLASSES)},
    steps=200,
    optim=AdamW(lr=3e-3),
    augment={"shift": Shift(2), "flip": Flip(0.5)},
)


def fused(fusion) -> Experiment:
    return replace(BASE, fusion=fusion)


def bottleneck(layer: int) -> Experiment:
    return fused(Bottleneck(tokens=4, fusion_layer=layer, depth=3, heads=4, **SIZE))


ABLATIONS = {
    "text_asks": BASE,
    "heads_1": fused(replace(TEXT_ASKS, heads=1)),
    "heads_8": fused(replace(TEXT_ASKS, heads=8)),
    "depth_2": fused(replace(TEXT_ASKS, depth=2)),
    "image_asks": fused(replace(TEXT_ASKS, query="image")),
    "both_ask": fused(CoAttention(depth=1, heads=4, **SIZE)),
    "one_transformer": fused(EarlyTransformer(depth=2, heads=4, **SIZE)),
    "bottleneck_0": bottleneck(0),
    "bottleneck_1": bottleneck(1),
    "bottleneck_3": bottleneck(3),
    "concat": fused(Concat(width=32)),
    "image": replace(BASE, encoders=IMAGE, fusion=Concat(width=32)),
    "text": replace(BASE, encoders=TEXT, fusion=Concat(width=32)),
}

LARGE = {"width": 768, "hidden": 3072, "dropout": 0.1}
FULL_BASE = replace(
    BASE,
    data=Stamps(image_size=224, max_tokens=64, speech_languages=()),
    encoders={"image": vit_b16(), "text": bert_base()},
    fusion=CrossAttention(query="text", depth=4, heads=12, **LARGE),
    optim=AdamW(lr=1e-4),
)
FULL = {
    "text_asks": FULL_BASE,
    "both_ask": replace(FULL_BASE, fusion=CoAttention(depth=2, heads=12, **LARGE)),
    "bottleneck_8": replace(FULL_BASE, fusion=Bottleneck(tokens=4, fusion_layer=8, depth=12, heads=12, **LARGE)),
}

if __name__ == "__main__":
    main(ABLATIONS, FULL)
