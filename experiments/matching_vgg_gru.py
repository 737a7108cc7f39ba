"""Image-text similarity: do these words belong to this picture?

The system of our first source: VGG on the picture, a GRU on the words, the element-wise product of the two vectors followed
by ReLU, a fully connected classifier, cross-entropy, SGD. Its rival is the direct concatenation. Pairs of the Stamps pack: a
picture with its own name, or with that of another stamp, at random or from the same folder (a hard negative); half of the
pairs are true. Departures: a narrower VGG on small pictures, its last cells pooled to 7 x 7, trained from scratch and not
pretrained; Adam, the source's SGD being a cell of its own; --full has the real VGG-16 at 224 px.

Run: python experiments/matching_vgg_gru.py --seeds 10
     python experiments/matching_vgg_gru.py pretrained --seeds 10 --resume
     python experiments/matching_vgg_gru.py product --full --costs --seeds 1 --batch 8       the source's size
Time: about 8 min on 2 cores (855 CPU seconds; 17 min of the clock beside other work), 1.2 GB
Expected: on 510 test pairs of 170 stamps (fold 0), half of them true; mean of 10 seeds [95 % interval over leak-free groups
and seeds]. A model that sees one side alone cannot know: chance is 0.500.
    cell           accuracy               macro F1   against text alone
    product        0.558 [0.518, 0.606]   0.539      better: +0.059 [+0.012, +0.112]
    concat         0.553 [0.519, 0.594]   0.520      better: +0.055 [+0.016, +0.101]
    augmented      0.558 [0.526, 0.600]   0.510      better: +0.060 [+0.021, +0.105]
    sgd            0.501 [0.483, 0.521]   0.420      inconclusive
    fewer_layers   0.582 [0.544, 0.623]   0.563      better: +0.084 [+0.041, +0.133]
    pretrained     0.600 [0.558, 0.646]   0.595      better: +0.101 [+0.055, +0.154]
    image          0.500                  0.406
    text           0.499 [0.477, 0.522]   0.449
    TF-IDF         0.496 [0.447, 0.547]   0.489
Recall of product: 0.74 of true pairs; 0.39 of the random wrong ones and 0.36 of the hard ones are told to be wrong.
Claims: that fused features tell matching from not matching is reproduced, if weakly, from scratch. That the product is the
better fusion is inconclusive (product - concat +0.005 [-0.039, +0.048]). That augmentation helps, and that adding or removing
layers does, inconclusive (+0.000 [-0.028, +0.030]; with fewer +0.024 [-0.004, +0.055]). Its SGD learns nothing in these 400
steps, Adam does (+0.057 [+0.017, +0.099]). Transfer learning is reproduced: frozen features of EfficientNet-Lite0 instead of
the picture's own network are worth +0.042 [+0.007, +0.079] (`pretrained`, which runs by name alone and fetches 17 MB; VGG-16's
weights are not to be had through the package index: `--full --weights encoders_image FILE` takes them where you have them).
"""

from dataclasses import replace

from mmjax.data.augment import Flip, RandomCrop, Rotation
from mmjax.data.stamps.dataset import Stamps
from mmjax.data.stamps.pairs import StampsPairs
from mmjax.encoders import VGG, Features, TextRNN, vgg16
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat, Product
from mmjax.heads import Classifier
from mmjax.nn import GRU
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.tasks import Classify
from mmjax.train.optim import SGD, Adam

IMAGE = {"image": VGG(stages=((1, 8), (1, 16), (2, 32)), hidden=(64,), dropout=0.2)}
TEXT = {"text": TextRNN(vocabulary=1000, embedding=64, layer=GRU(64), dropout=0.2)}

BASE = Experiment(
    data=StampsPairs(Stamps(image_size=24, max_tokens=16, speech_languages=())),
    encoders=IMAGE | TEXT,
    fusion=Product(width=64),
    heads={"match": Classifier(2, hidden=(64,))},
    tasks={"match": Classify("match")},
    steps=400,
    optim=Adam(lr=2e-3),
)
PUBLISHED = {"image": Features(width=64, dropout=0.2)}
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

BY_NAME = {
    "pretrained": replace(
        BASE, data=CachedFeatures(BASE.data, (("image", "efficientnet-lite0"),)), encoders=PUBLISHED | TEXT, optim=Adam(lr=1e-3)
    ),
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
    main(ABLATIONS, FULL, BY_NAME)
