"""AV-MNIST: is a digit that is written and spoken recognised better from both than from either, with MultiBench's fusions?

MultiBench (Liang et al., NeurIPS 2021) reduces the variance of the images and adds noise to the sound, so that neither is
enough. The cells are its examples/multimedia/avmnist_*.py: a LeNet for each modality, a fusion, and a perceptron with 100
hidden units; stochastic gradient descent without momentum on batches of 40, and the epoch of the best validation accuracy.
    image, audio       unimodal_0 and unimodal_1
    late               simple_late_fusion: the concatenation of both vectors
    low_rank           low_rank_tensor: a tensor of rank 40
    multiplicative     multi_interac_matrix: multiplicative interactions
    tensor_matrix      tensor_matrix: the same, with half the channels, a tenth of the learning rate and 100 epochs
    image_wide         not in MultiBench: the image with the channels, learning rate and epochs of `late`
Departures: the perceptron and the tensors are initialised as everywhere in mmjax. In MultiBench's code the factors of
low_rank are not registered as parameters on a GPU, and are not trained there; here they are. Its scripts for CCA, RefNet,
MVAE, MFM, gradient blending and architecture search have no cell. Its unimodal scripts never leave training mode before the
test, so the batch norms use statistics of validation batches; here they use the running ones.

The data are not part of this project. --data.root names the folder avmnist of MultiBench, whose layout is in
mmjax/data/av_digits/dataset.py; the error for a missing folder says where to get it.

Run: python experiments/av_digits.py --data.root avmnist --seeds 10
     python experiments/av_digits.py image audio late --data.root avmnist --seeds 10 --against late
Time: not run in full. `late` needs 2.7 GFLOP per step and 112 TFLOP per seed (`--costs`), by which all cells with 10 seeds take
about four days on 2 cores; the data do not fit into the default --device-memory (3.5 GB of spectrograms) and are streamed
Expected: `late`, and each other fusion, more accurate than `image`, `image_wide` and `audio` (the claim). There is no table,
since the data are not available here: the commands have only run on a tiny folder in the same format
(tests/data/av_digits/tiny.py).
"""

from dataclasses import replace

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mmjax.data.av_digits.dataset import AvDigits
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat, MultiplicativeInteractions, published
from mmjax.heads import Classifier
from mmjax.nn import BatchNorm, Conv, max_pool
from mmjax.tasks import Classify
from mmjax.train.optim import SGD
from mmjax.types import Tokens

CLASSES, HIDDEN, EPOCH = 10, 100, 55_000 // 40


class LeNet(nn.Module):
    """MultiBench's LeNet, [b h w c] -> one token: stages of convolution without bias, batch norm, ReLU and 2 x 2 max-pooling.

    The first convolution is 5 x 5, the others are 3 x 3 and double the channels. The last grid is flattened; it has a single
    cell for 28 px after 4 stages, and for 112 px after 6.

    channels: of the first stage. stages: their number.
    """

    channels: int
    stages: int
    takes_present = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False, present: Bool[Array, " b"] | None = None
    ) -> Tokens:
        for stage in range(self.stages):
            kernel, width = (3, 3) if stage else (5, 5), self.channels * 2**stage
            conv = Conv(width, kernel, use_bias=False, kernel_init=nn.initializers.he_uniform(), name=f"conv{stage}")
            x = max_pool(nn.relu(BatchNorm(name=f"norm{stage}")(conv(x), train=train, present=present)))
        x = x.reshape(x.shape[0], 1, -1)
        return Tokens(x, jnp.ones(x.shape[:2], bool))


def lenets(channels: int) -> dict[str, LeNet]:
    return {"image": LeNet(channels, 4), "audio": LeNet(channels, 6)}


# relu(W [x; y] + b) and the classifier are the perceptron over the concatenation, or over a single vector.
LATE = Experiment(
    data=AvDigits(),
    encoders=lenets(6),
    fusion=Concat(HIDDEN),
    heads={"digit": Classifier(CLASSES)},
    tasks={"digit": Classify("digit")},
    optim=SGD(lr=0.1, momentum=0.0, decay=1e-4, clip=8.0),
    steps=30 * EPOCH,
    batch=40,
    evaluate_every=EPOCH,
    checkpoint_every=EPOCH,
)
PERCEPTRON = {"digit": Classifier(CLASSES, hidden=(HIDDEN,))}


def alone(name: str, channels: int, lr: float, epochs: int) -> Experiment:
    """One modality."""
    encoders = {name: lenets(channels)[name]}
    return replace(LATE, encoders=encoders, optim=replace(LATE.optim, lr=lr), steps=epochs * EPOCH)


ABLATIONS = {
    "late": LATE,
    "low_rank": replace(
        LATE, fusion=published.lmf(width=120, rank=40), heads=PERCEPTRON, optim=replace(LATE.optim, lr=0.05, decay=2e-4)
    ),
    "multiplicative": replace(
        LATE,
        fusion=MultiplicativeInteractions(240),
        heads=PERCEPTRON,
        optim=replace(LATE.optim, lr=0.05),
        steps=20 * EPOCH,
    ),
    "tensor_matrix": replace(
        LATE,
        encoders=lenets(3),
        fusion=MultiplicativeInteractions(96),
        heads=PERCEPTRON,
        optim=replace(LATE.optim, lr=0.01),
        steps=100 * EPOCH,
    ),
    "image": alone("image", channels=3, lr=0.01, epochs=20),
    "image_wide": alone("image", channels=6, lr=0.1, epochs=30),
    "audio": alone("audio", channels=6, lr=0.1, epochs=20),
}

if __name__ == "__main__":
    main(ABLATIONS)
