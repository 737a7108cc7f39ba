"""MM-IMDb: which genres has a movie, by its poster and its plot? Gated multimodal units against concatenation.

Arevalo et al., "Gated multimodal units for information fusion" (2017), classify frozen features: VGG-16 of the poster, and the
mean word2vec vector of the plot. `gmu` and `concat` differ in the fusion alone; `image` and `text` have one modality. As in
the authors' code: the published split, 23 genres, the longest plot, 512 units, dropout .5, batches of 128, Adam, and the step
with the best macro F1 on the validation split. Departures: features of EfficientNet-Lite0 and MiniLM; a linear classifier in
place of a perceptron with maxout and batch norm; one learning rate instead of the best of 25 drawn settings.

The data are not part of this project. --data.root names the folder mmimdb, whose layout is in mmjax/data/mm_imdb/dataset.py;
the error for a missing folder says where to get it.

Run: python experiments/mm_imdb.py --data.root mmimdb --seeds 10 --against concat
Time: not run in full; the features of 25,959 posters and plots are computed once and cached
Expected: `gmu` with a better macro F1 than `concat`, `image` and `text` (the claim; the paper has .541 for `gmu`, quoted from
memory). There is no table, since the data are not available here: the commands have only run on a tiny folder in the same
format (tests/data/mm_imdb/tiny.py).
"""

from dataclasses import replace

from mmjax.data.mm_imdb.dataset import GENRES, MMIMDb
from mmjax.encoders import Features
from mmjax.experiment import Experiment, main
from mmjax.fusion import GMU, Concat
from mmjax.heads import MultiLabel
from mmjax.losses import On, SigmoidCrossEntropy
from mmjax.pretrained.cached_features import PUBLISHED, CachedFeatures
from mmjax.tasks import MultiLabelClassify
from mmjax.train.optim import Adam

UNITS, BATCH = 512, 128
EPOCH = 15_552 // BATCH
ENCODERS = {name: Features(width=None) for name in ("image", "text")}

BASE = Experiment(
    data=CachedFeatures(MMIMDb(), weights=PUBLISHED[:2]),
    encoders=ENCODERS,
    fusion=GMU(width=UNITS, dropout=0.5),
    heads={"genres": MultiLabel(len(GENRES))},
    loss=On("genres", SigmoidCrossEntropy()),
    tasks={"genres": MultiLabelClassify("genres")},
    select="genres.f1_macro",
    steps=30 * EPOCH,
    batch=BATCH,
    evaluate_every=EPOCH,
    optim=Adam(lr=1e-3),
)

ABLATIONS = {
    "gmu": BASE,
    "concat": replace(BASE, fusion=Concat(width=UNITS, dropout=0.5)),
    "image": replace(BASE, encoders={"image": ENCODERS["image"]}),
    "text": replace(BASE, encoders={"text": ENCODERS["text"]}),
}

if __name__ == "__main__":
    main(ABLATIONS)
