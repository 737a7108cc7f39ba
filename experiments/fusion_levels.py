"""At which level should one fuse: the data, the models, or the results?

Our fifth source's three levels, side by side: one Transformer over the tokens of all modalities (data fusion), pooled features
combined by a learned layer (model fusion), and each modality deciding for itself (result fusion: averaged, weighted,
multiplied, stacked). Beside them its floor, TF-IDF with a linear SVM, fitted on the training split alone; and its preparation
on and off: rotation of the pictures, stop words left out. Nine kinds of Stamps, from picture and name, z-scored. (The source
swaps the names of precision and recall; here TP / (TP + FP) is precision.)

Run: python experiments/fusion_levels.py --seeds 10
     python experiments/fusion_levels.py model --full --costs --seeds 1 --batch 8            ResNet-50 and BERT-base
Time: (to be measured)
Expected: (table to be filled)
"""

from dataclasses import replace

from mmjax.data.augment import Flip, Rotation, Shift
from mmjax.data.stamps_task import Stamps
from mmjax.data.text import STOP_WORDS, Words
from mmjax.encoders import CNN, TextRNN, bert_base, resnet50
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat, EarlyTransformer, MeanLogits, ProductOfExperts, Stacked, WeightedLogits
from mmjax.heads import Classifier, Mean
from mmjax.nn import LSTM
from mmjax.train.optim import AdamW

CLASSES = 9
IMAGE = {"image": CNN(widths=(8, 16, 32), dropout=0.2)}
TEXT = {"text": TextRNN(vocabulary=1000, embedding=64, layer=LSTM(64), every_step=True, dropout=0.3)}

BASE = Experiment(
    data=Stamps(image_size=24, tokenizer=Words(), max_tokens=16, speech_languages=()),
    encoders=IMAGE | TEXT,
    fusion=Concat(width=64, dropout=0.2),
    heads={"label": Classifier(CLASSES)},
    steps=200,
    optim=AdamW(lr=3e-3),
    augment={"shift": Shift(2), "flip": Flip(0.5)},
)
ROTATED = BASE.augment | {"rotation": Rotation(15.0)}
WITHOUT_STOP_WORDS = replace(BASE.data, tokenizer=Words(stop_words=STOP_WORDS))


def result(fusion) -> Experiment:
    """Late fusion: what comes out are logits already."""
    return replace(BASE, fusion=fusion(CLASSES, width=64, dropout=0.2), heads={"label": Mean()})


ABLATIONS = {
    "data": replace(BASE, fusion=EarlyTransformer(width=64, depth=1, heads=4, hidden=128, dropout=0.2)),
    "model": BASE,
    "result_mean": result(MeanLogits),
    "result_weighted": result(WeightedLogits),
    "result_product": result(ProductOfExperts),
    "result_stacked": result(Stacked),
    "model_rotated": replace(BASE, augment=ROTATED),
    "model_stop_words": replace(BASE, data=WITHOUT_STOP_WORDS),
    "model_both": replace(BASE, data=WITHOUT_STOP_WORDS, augment=ROTATED),
    "image": replace(BASE, encoders=IMAGE),
    "image_rotated": replace(BASE, encoders=IMAGE, augment=ROTATED),
    "text": replace(BASE, encoders=TEXT),
    "text_stop_words": replace(BASE, data=WITHOUT_STOP_WORDS, encoders=TEXT),
}

FULL_BASE = replace(
    BASE,
    data=Stamps(image_size=224, max_tokens=64, speech_languages=()),
    encoders={"image": resnet50(), "text": bert_base()},
    fusion=Concat(width=1024, dropout=0.2),
    optim=AdamW(lr=1e-4),
)
FULL = {
    "data": replace(FULL_BASE, fusion=EarlyTransformer(width=768, depth=4, heads=12, hidden=3072, dropout=0.1)),
    "model": FULL_BASE,
    "result_mean": replace(FULL_BASE, fusion=MeanLogits(CLASSES, width=1024), heads={"label": Mean()}),
}

if __name__ == "__main__":
    main(ABLATIONS, FULL)
