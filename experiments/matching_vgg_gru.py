"""Image-text similarity: do these words belong to this picture?

The system of our first source: VGG on the picture, a GRU on the words, the element-wise product of the two vectors followed
by ReLU, a fully connected classifier, cross-entropy, SGD. Its rival is the direct concatenation. Pairs of the Stamps pack: a
picture with its own name, or with that of another stamp, at random or from the same folder (a hard negative); half of the
pairs are true. Departures: a narrower VGG on small pictures, trained from scratch, not pretrained; Adam, the source's SGD being
a cell of its own; --full has the real VGG-16 at 224 px.

Run: python experiments/matching_vgg_gru.py --seeds 10
     python experiments/matching_vgg_gru.py product --full --costs --seeds 1 --batch 8       the source's size
Time: (to be measured)
Expected: (table to be filled)
"""

from dataclasses import replace

from mmjax.data.augment import Flip, RandomCrop, Rotation
from mmjax.data.stamps_pairs import StampsPairs
from mmjax.data.stamps_task import Stamps
from mmjax.encoders import VGG, TextRNN, vgg16
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat, Product
from mmjax.heads import Classifier
from mmjax.nn import GRU
from mmjax.train.optim import SGD, Adam

IMAGE = {"image": VGG(stages=((1, 8), (1, 16), (2, 32)), hidden=(64,), dropout=0.2)}
TEXT = {"text": TextRNN(vocabulary=1000, embedding=64, layer=GRU(64), dropout=0.2)}

BASE = Experiment(
    data=StampsPairs(Stamps(image_size=24, max_tokens=16, speech_languages=())),
    encoders=IMAGE | TEXT,
    fusion=Product(width=64),
    heads={"match": Classifier(2, hidden=(64,))},
    steps=400,
    optim=Adam(lr=2e-3),
)
AUGMENT = {"crop": RandomCrop(0.6), "flip": Flip(0.5), "rotation": Rotation(15.0)}

ABLATIONS = {
    "product": BASE,
    "concat": replace(BASE, fusion=Concat(width=64)),
    "augmented": replace(BASE, augment=AUGMENT),
    "sgd": replace(BASE, optim=SGD(lr=0.05)),
    "fewer_layers": replace(BASE, encoders={"image": VGG(stages=((1, 8), (1, 16)), hidden=(64,), dropout=0.2)} | TEXT),
    "image": replace(BASE, encoders=IMAGE),
    "text": replace(BASE, encoders=TEXT),
}

FULL_BASE = replace(
    BASE,
    data=StampsPairs(Stamps(image_size=224, max_tokens=32, speech_languages=())),
    encoders={"image": vgg16(), "text": TextRNN(vocabulary=1000, embedding=300, layer=GRU(1024), dropout=0.2)},
    fusion=Product(width=1024),
    heads={"match": Classifier(2, hidden=(1024,))},
    optim=SGD(lr=0.01),
)
FULL = {
    "product": FULL_BASE,
    "concat": replace(FULL_BASE, fusion=Concat(width=1024)),
    "augmented": replace(FULL_BASE, augment=AUGMENT),
}

if __name__ == "__main__":
    main(ABLATIONS, FULL)
