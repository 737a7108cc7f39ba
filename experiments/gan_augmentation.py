"""Does a GAN's data augmentation help? Nine classes of stamps from frozen features, with all training data and with a tenth.

The data and the model are those of `stamps_pretrained.py` (cell `concat`), on the first 64 principal components of each
modality. One conditional GAN per modality (hinge loss, R1,
spectral normalisation, projection discriminator, moving average of the generator) learns the features of the training split,
and adds one generated row for each real one. The simple alternatives are Gaussian noise on the features and MixUp.

Run: python experiments/gan_augmentation.py --folds all --seeds 10 --against none
     python experiments/gan_augmentation.py few_none few_noise few_mixup few_gan --folds all --seeds 10 --against few_none
Time: about 12 CPU minutes for both commands
Expected: the table of five folds and 10 seeds is missing here, since its run has not ended.
"""

from dataclasses import replace

from stamps_fusion import CLASSES
from stamps_pretrained import BASE as PRETRAINED
from stamps_pretrained import STAMPS

from mmjax.data.augment import Jitter, MixUp
from mmjax.data.components import PrincipalComponents
from mmjax.data.few import Few
from mmjax.experiment import Experiment, main
from mmjax.robust.gan_rows import GeneratedRows

MODALITIES = ("image", "text", "audio")
NOISE = {f"noise_{name}": Jitter(0.3, modality=name) for name in MODALITIES}
MIXUP = {"mixup": MixUp(CLASSES, alpha=0.2, modalities=MODALITIES)}


def cells(share: float, prefix: str) -> dict[str, Experiment]:
    """No augmentation and each of the others, with this share of the training data."""
    features = replace(PRETRAINED.data, data=Few(STAMPS, share=share), normalize=PrincipalComponents(64))
    base = replace(PRETRAINED, data=GeneratedRows(features, ratio=0.0, modalities=MODALITIES), groups=())
    return {
        f"{prefix}none": base,
        f"{prefix}noise": replace(base, augment={**NOISE, **base.augment}),
        f"{prefix}mixup": replace(base, augment={**MIXUP, **base.augment}),
        f"{prefix}gan": replace(base, data=replace(base.data, ratio=1.0)),
    }


ABLATIONS = cells(1.0, "")
BY_NAME = cells(0.1, "few_")

if __name__ == "__main__":
    main(ABLATIONS, by_name=BY_NAME)
