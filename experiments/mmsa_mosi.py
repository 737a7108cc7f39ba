"""CMU-MOSI as MMSA benchmarks it: do TFN, LMF, MulT, MISA and Self-MM reach the published numbers?

MMSA (Mao et al., ACL 2022) trains the models of several papers by one protocol: the score of an utterance, from -3 to 3, by
regression; the epoch of the least validation loss; several seeds; "Non0", the accuracy of two classes without scores of 0. The
cells have the networks and settings of its models and of config_regression.json (unaligned, mosi). Texts are features of BERT
(`tfn`, `lmf`, `mult`), or their tokens, by which BERT is trained (`misa`, `self_mm`); audio and vision are means over all steps
(`tfn`, `lmf`) or sequences.

Departures. All cells: a fixed number of steps instead of stopping 8 epochs after the best; no clipping of single entries of a
gradient; initialisation as everywhere in mmjax. lmf: the weights of its terms are trained; in MMSA's code they are not. mult:
one rate of dropout, .2, except on the text; padding is masked; a constant learning rate. misa: one rate of dropout, .2; the
recurrent networks read whole sequences, MMSA's only as many steps as the text has tokens. self_mm: one width (32) and rate of
dropout (.1) for the features of all modalities; a step is a batch of 64 instead of four of 16; all parameters of BERT decay.

The features are not part of this project. --data.root names the folder of MMSA's MOSI/Processed/unaligned_50.pkl; the error for
a missing file says where to get it. `misa` and `self_mm` start from BERT base, uncased, which huggingface_hub fetches if it is
installed; a folder with its weights can be named instead.

Run: python experiments/mmsa_mosi.py --data.root FOLDER --seeds 5
     python experiments/mmsa_mosi.py tfn lmf mult --data.root FOLDER --seeds 5
     python experiments/mmsa_mosi.py misa self_mm --data.root FOLDER --seeds 5 --weights.encoders-text/encoder BERT
Time: not run in full, since the file is not available here; meant for a GPU, except `lmf`
Expected: published accuracy in % of two classes without 0 (acc2_nonzero) and mean absolute error, in MMSA's
results/result-stat.md. There is no table of our own: the cells have only run on a tiny file in the same format
(tests/data/mosi_mmsa.py).
    cell      accuracy   error
    tfn       79.08      .9473
    lmf       79.18      .9504
    mult      80.98      .8799
    misa      83.54      .7765
    self_mm   85.46      .7080
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mmjax.data.mosi.mmsa import MmsaMosi
from mmjax.data.numbered import Numbered
from mmjax.encoders import Pooled, bert_base
from mmjax.experiment import Experiment, main
from mmjax.fusion import MISA, Concat, OuterProduct, SelfMM, published
from mmjax.heads import Mean, Regressor
from mmjax.losses import AbsoluteError, On, SelfMMLoss, SquaredError, misa_loss
from mmjax.metrics.sentiment import SENTIMENT
from mmjax.nn import LSTM, BatchNorm, Bidirectional, Conv, Dropout, first_token, masked_mean
from mmjax.nn.recurrent import read
from mmjax.tasks import Regress
from mmjax.train.rates import Rates
from mmjax.train.unimodal_labels import UnimodalLabels
from mmjax.types import Padded, Tokens

MODALITIES, TRAINING_ROWS = ("audio", "text", "vision"), 1284


@dataclass(frozen=True)
class AdamL2:
    """torch's Adam, whose weight decay is added to the gradient. lr: learning rate. decay: weight decay."""

    lr: float = 1e-3
    decay: float = 0.0

    def __call__(self, steps: int) -> optax.GradientTransformation:
        del steps
        return optax.chain(optax.add_decayed_weights(self.decay), optax.adam(self.lr))


class SubNet(nn.Module):
    """MMSA's `SubNet`: batch norm and dropout of a vector, then three dense layers with ReLU.

    width: of the layers. dropout: rate.
    """

    width: int
    dropout: float = 0.3
    takes_present = True

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], *, train: bool = False, present: Bool[Array, " b"] | None = None) -> Tokens:
        x = Dropout(self.dropout, name="dropout")(BatchNorm(name="norm")(x, train=train, present=present), train=train)
        for layer in range(3):
            x = nn.relu(nn.Dense(self.width, name=f"dense{layer}")(x))
        return Tokens(x[:, None], jnp.ones((len(x), 1), bool))


class LastState(nn.Module):
    """MMSA's `TextSubNet` and `AuViSubNet`: a dense layer on the last state of an LSTM.

    units: of the LSTM. width: of the dense layer.
    """

    units: int
    width: int

    @nn.compact
    def __call__(self, steps: Padded, *, train: bool = False) -> Tokens:
        last = read(LSTM(self.units, name="lstm"), steps, train=train)
        return Tokens(nn.Dense(self.width, name="dense")(last.x), last.mask)


class TwoLayers(nn.Module):
    """MISA's network of a sequence: the last states of two bidirectional LSTMs as wide as the steps, a layer norm between."""

    @nn.compact
    def __call__(self, steps: Padded, *, train: bool = False) -> Tokens:
        layers = [Bidirectional(LSTM(steps.x.shape[-1], parent=None), name=f"lstm{k}") for k in range(2)]
        first = layers[0](steps.x, steps.mask, train=train)
        second = layers[1](nn.LayerNorm(1e-5, name="norm")(first), steps.mask, train=train)
        last = [layer.last(states, steps.length) for layer, states in zip(layers, (first, second))]
        return Tokens(jnp.concatenate(last, axis=-1)[:, None], (steps.length > 0)[:, None])


class Convolved(nn.Module):
    """MulT's projection of a sequence: dropout and a convolution of 5 steps without bias or padding.

    width: of the tokens. dropout: rate.
    """

    width: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, steps: Padded, *, train: bool = False) -> Tokens:
        if steps.x.shape[1] < 5:
            raise ValueError(f"Convolved needs at least 5 steps, but the sequences are padded to {steps.x.shape[1]}")
        x = jnp.where(steps.mask[..., None], steps.x, 0)
        x = Dropout(self.dropout, name="dropout")(x, train=train)
        x = Conv(self.width, (1, 5), padding="VALID", use_bias=False, name="conv")(x[:, None])[:, 0]
        return Tokens(x, steps.mask[:, : x.shape[1]])


class TFN(nn.Module):
    """MMSA's tensor fusion: dropout on the tensor, and two layers with ReLU. width: of the layers. dropout: rate."""

    width: int = 64
    dropout: float = 0.5

    @nn.compact
    def __call__(self, tokens: Mapping[str, Tokens], *, train: bool = False) -> Tokens:
        tensor = OuterProduct(name="outer")(tokens, train=train)
        x = Dropout(self.dropout, name="dropout")(tensor.x, train=train)
        return Concat(self.width, hidden=(self.width,), name="layers")({"tensor": Tokens(x, tensor.mask)}, train=train)


class Bounded(nn.Module):
    """A number between -3 and 3: 6 sigmoid(W h + b) - 3."""

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Float[Array, "b 1"]:
        return 6 * nn.sigmoid(Regressor(name="score")(tokens, train=train)) - 3


def steps_of(epochs: int, batch: int) -> dict[str, int]:
    """The fields of an experiment for this many epochs, each of which is evaluated."""
    each = -(-TRAINING_ROWS // batch)
    return {"steps": epochs * each, "batch": batch, "evaluate_every": each, "checkpoint_every": each}


TFN_CELL = Experiment(
    data=MmsaMosi(means=True),
    encoders={"text": LastState(128, 32), "audio": SubNet(32), "vision": SubNet(128)},
    fusion=TFN(),
    heads={"score": Bounded()},
    loss=On("score", AbsoluteError()),
    tasks={"score": Regress("score", extra=SENTIMENT)},  # its first metric, the mean absolute error, selects the epoch
    optim=AdamL2(1e-3),
    **steps_of(epochs=30, batch=32),
)
MULT_CELL = replace(
    TFN_CELL,
    data=MmsaMosi(),
    encoders={"text": Convolved(50, dropout=0.5), "audio": Convolved(50), "vision": Convolved(50)},
    fusion=published.mult(width=50, depth=4, heads=10, dropout=0.2),
    heads={"score": Regressor()},
    optim=AdamL2(2e-3),
    **steps_of(epochs=40, batch=128),  # eight batches of 16
)
BERT, BERT_WEIGHTS = "encoders_text/encoder", "google-bert/bert-base-uncased"
MISA_CELL = replace(
    TFN_CELL,
    data=MmsaMosi(token_ids=True),
    encoders={"text": Pooled(bert_base(), masked_mean), "audio": TwoLayers(), "vision": TwoLayers()},
    fusion=MISA(width=128, heads=2, dropout=0.2),
    heads={"score": Regressor(), **published.misa_heads(MODALITIES)},
    loss=misa_loss(On("score", SquaredError()), MODALITIES, similarity=0.3, difference=0.1),
    select="score.rmse",
    optim=AdamL2(1e-4),
    weights={BERT: BERT_WEIGHTS},
    **steps_of(epochs=20, batch=32),  # two batches of 16
)
SELF_MM_CELL = replace(
    MISA_CELL,
    data=Numbered(MmsaMosi(token_ids=True)),
    encoders={"text": Pooled(bert_base(), first_token), "audio": LastState(16, 16), "vision": LastState(32, 32)},
    fusion=SelfMM(width=128, unimodal_width=32, unimodal_dropout=0.1),
    heads=published.self_mm_heads("score", MODALITIES),
    loss=SelfMMLoss(MODALITIES),
    gradient=UnimodalLabels(TRAINING_ROWS, MODALITIES),
    select="score.mae",
    optim=Rates(AdamL2(1e-3, 1e-3), {"encoders_text": 0.05, "encoders": 5.0}),
    **steps_of(epochs=20, batch=64),  # four batches of 16
)
ABLATIONS = {
    "tfn": TFN_CELL,
    "lmf": replace(
        TFN_CELL,
        encoders={"text": LastState(128, 64), "audio": SubNet(16), "vision": SubNet(128)},
        fusion=published.lmf(width=1, rank=3),
        heads={"score": Mean()},
        optim=AdamL2(1e-3, 5e-3),
        **steps_of(epochs=40, batch=64),
    ),
    "mult": MULT_CELL,
    "misa": MISA_CELL,
    "self_mm": SELF_MM_CELL,
}

if __name__ == "__main__":
    main(ABLATIONS)
