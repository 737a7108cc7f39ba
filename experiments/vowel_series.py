"""Which of nine men is speaking? 12 coefficients of linear prediction over time, in pairs as modalities, some of them missing.

JapaneseVowels (Kudo, Toyama and Shimbo, 1999): each man says "ae", 7 to 29 steps; 270 series to train with (a fifth of them
validates), and the archive's own 370 to test. Neighbouring channels make a modality, so that all 63 subsets of the six can be
scored; with TOGETHER = 1 there are twelve, of which each alone and all but each are, and a run takes twice as long.
The channels meet at three levels:
    data fusion      side by side at each step, before anything is learnt: one temporal convolution network over all of them
    model fusion     a network for each modality, TCN or Transformer over patches, and their tokens concatenated, gated, or
                     attended to together
    result fusion    a classifier for each modality, and the mean of their logits
each trained with modality dropout, which takes a third of the modalities away; two of them also without. Beside them the best
single modality, chosen on the validation split.

Claims to test: fusing modalities beats the best single one (our sources 4 and 5); where channels go missing, modality dropout
(Neverova et al., 2016) loses less, and so does what keeps the channels apart.

Run: python experiments/vowel_series.py --seeds 10        all cells; needs pip install --no-deps aeon==1.6.0
     python experiments/vowel_series.py concat --fusion.width 128
Time: (to be measured)
Expected: (table to be filled)
"""

from dataclasses import replace

from mmjax.data.augment import DropModalities
from mmjax.data.series import AeonSeries
from mmjax.encoders.features import Features
from mmjax.encoders.series import TCN, PatchTransformer, TemporalConvolutions
from mmjax.experiment import Experiment, main
from mmjax.fusion.early import EarlyTransformer
from mmjax.fusion.gated import Gated
from mmjax.fusion.joint import Concat
from mmjax.fusion.late import MeanLogits
from mmjax.fusion.steps import ContextOver, SideBySide
from mmjax.heads import Classifier, Mean
from mmjax.train.optim import Adam

CLASSES = 9
TOGETHER = 2  # channels that make a modality
DATA = AeonSeries("JapaneseVowels", channels=TOGETHER)
MODALITIES = DATA.modalities(12)
BEST = "channels06to07"  # alone on the validation split, with five seeds: accuracy 0.644, the next two 0.637
# A module for each modality: one object in two places would be one set of parameters.
RAW = {name: Features(width=None) for name in MODALITIES}
TCNS = {name: TCN(widths=(16, 16), every_step=True, dropout=0.1) for name in MODALITIES}
PATCHES = {name: PatchTransformer(patch=8, width=16, depth=1, heads=2, hidden=32) for name in MODALITIES}

BASE = Experiment(
    data=DATA,
    encoders=TCNS,
    fusion=Concat(width=64, dropout=0.2),
    heads={"label": Classifier(CLASSES)},
    steps=200,
    evaluate_every=20,
    optim=Adam(lr=3e-3),
    augment={"modalities": DropModalities(1 / 3)},
)
EARLY = replace(BASE, encoders=RAW, fusion=ContextOver(SideBySide(), TemporalConvolutions(widths=(32, 32, 32), dropout=0.1)))

ABLATIONS = {
    "data": EARLY,
    "concat": BASE,
    "gated": replace(BASE, fusion=Gated(width=64, dropout=0.2)),
    "late": replace(BASE, fusion=MeanLogits(CLASSES, width=32, dropout=0.2), heads={"label": Mean()}),
    "patches": replace(BASE, encoders=PATCHES),
    "attention": replace(BASE, encoders=PATCHES, fusion=EarlyTransformer(width=32, depth=1, heads=2, hidden=64, dropout=0.1)),
    "data-all": replace(EARLY, augment={}),  # trained with everything always there
    "concat-all": replace(BASE, augment={}),
    "single": replace(BASE, encoders={BEST: TCNS[BEST]}, augment={}),
}

if __name__ == "__main__":
    main(ABLATIONS)
