"""Fusions of pooled vectors and composed fusions for the contract suite: name -> (fusion, head)."""

from mmjax.fusion.compose import Append, Only, Parallel, Serial
from mmjax.fusion.connectors import GridMean, LineBreak, MLPConnector, Normalised, PixelShuffle
from mmjax.fusion.early import JoinTokens
from mmjax.fusion.factorised import MFM
from mmjax.fusion.film import FiLMBlocks
from mmjax.fusion.gan_imputer import GANImputer
from mmjax.fusion.gated import Gated
from mmjax.fusion.generative import MMVAE, MVAE
from mmjax.fusion.imputed import Imputed
from mmjax.fusion.imputers import MeanImputer, NearestImputer
from mmjax.fusion.infomax import MMIM
from mmjax.fusion.joint import GMU, Concat, FiLM, Product, WeightedSum
from mmjax.fusion.kernel import RandomFourier
from mmjax.fusion.late import MeanLogits, ProductOfExperts, Stacked, SumLogits, WeightedLogits
from mmjax.fusion.memory import MFN, GraphMFN
from mmjax.fusion.mixture import MixtureOfExperts
from mmjax.fusion.pooled import AttentionPooling, NLGate
from mmjax.fusion.published_mmvae import PublishedMMVAE
from mmjax.fusion.shared_private import MISA
from mmjax.fusion.shift import MAG, RAVEN
from mmjax.fusion.steps import ContextOver, EachStep, SideBySide
from mmjax.fusion.tensor import MFB, MUTAN, LowRank, MultiplicativeInteractions, OuterProduct, TensorFusion
from mmjax.fusion.translation import MCTN
from mmjax.fusion.unimodal_labels import SelfMM
from mmjax.heads import Classifier, Mean
from mmjax.nn import LSTM
from tests.contracts.inputs import CLASSES

FUSIONS = {
    "concat": (Concat(width=6, dropout=0.3), Classifier(CLASSES)),
    "concat_mlp": (Concat(width=6, dropout=0.3, hidden=(8,)), Classifier(CLASSES)),
    "weighted_sum": (WeightedSum(width=6, dropout=0.3), Classifier(CLASSES)),
    "product": (Product(width=6, dropout=0.3), Classifier(CLASSES)),
    "film": (FiLM("one", width=6, dropout=0.3), Classifier(CLASSES)),
    "gmu": (GMU(width=6, dropout=0.3), Classifier(CLASSES)),
    "gated": (Gated(width=6, dropout=0.3), Classifier(CLASSES)),
    "tensor": (TensorFusion(width=6, inner=4, dropout=0.3), Classifier(CLASSES)),
    "low_rank": (LowRank(width=6, rank=3, dropout=0.3), Classifier(CLASSES)),
    "multiplicative": (MultiplicativeInteractions(width=6, dropout=0.3), Classifier(CLASSES)),
    "mfb": (MFB(width=6, factors=3, dropout=0.3), Classifier(CLASSES)),
    "mutan": (MUTAN(width=6, inner=4, rank=3, dropout=0.3), Classifier(CLASSES)),
    "outer_product": (OuterProduct(dropout=0.3), Classifier(CLASSES)),
    "attention_pooling": (AttentionPooling(width=6, hidden=4, dropout=0.3), Classifier(CLASSES)),
    "nl_gate": (NLGate("one", width=6, dropout=0.3), Classifier(CLASSES)),
    "misa": (MISA(width=8, hidden=6, dropout=0.3), Classifier(CLASSES)),
    "mmim": (MMIM("one", width=6, dropout=0.3), Classifier(CLASSES)),
    "self_mm": (SelfMM(width=8, unimodal_width=4, dropout=0.3), Classifier(CLASSES)),
    "mvae": (MVAE(width=6, hidden=8), Classifier(CLASSES)),
    "mmvae": (MMVAE(width=6, hidden=8), Classifier(CLASSES)),
    "published_mmvae": (PublishedMMVAE(width=6, hidden=8, samples=3), Classifier(CLASSES)),
    "random_fourier": (RandomFourier(width=32, dropout=0.3), Classifier(CLASSES)),
    "late": (MeanLogits(CLASSES, width=6, dropout=0.3), Mean()),
    "weighted_logits": (WeightedLogits(CLASSES, width=6, dropout=0.3), Mean()),
    "product_of_experts": (ProductOfExperts(CLASSES, width=6, dropout=0.3), Mean()),
    "stacked": (Stacked(CLASSES, width=6, dropout=0.3), Mean()),
    "sum_logits": (SumLogits(CLASSES, dropout=0.3), Mean()),
    "mixture": (MixtureOfExperts(width=6, experts=4, k=2, hidden=4, dropout=0.3), Classifier(CLASSES)),
    "mixture_dense": (MixtureOfExperts(width=6, experts=3, k=3, hidden=4, dropout=0.3), Classifier(CLASSES)),
    "serial": (Serial(("one",), GMU(width=5, dropout=0.3), Concat(width=6, dropout=0.3)), Classifier(CLASSES)),
    "only": (Only(("one", "two", "three"), Concat(width=6)), Classifier(CLASSES)),
    "parallel": (
        Parallel({"sum": WeightedSum(width=5, dropout=0.3), "two": Only(("two",), Concat(width=5))}, Append()),
        Classifier(CLASSES),
    ),
    "mlp_connector": (MLPConnector(6, hidden=(8,)), Classifier(CLASSES)),
    "line_break": (LineBreak(MLPConnector(6)), Classifier(CLASSES)),
    "normalised": (Normalised(MLPConnector(6, bias=False)), Classifier(CLASSES)),
    "join_tokens": (JoinTokens(width=6, dropout=0.3), Classifier(CLASSES)),
    "imputed_mean": (Imputed(WeightedSum(width=6), MeanImputer(), ("two", "three")), Classifier(CLASSES)),
    "imputed_nearest": (Imputed(Concat(width=6, dropout=0.3), NearestImputer(capacity=12)), Classifier(CLASSES)),
    "imputed_gan": (Imputed(Concat(width=6, dropout=0.3), GANImputer(noise=3, hidden=(8,))), Classifier(CLASSES)),
}

# Tested with the slow tests: their compilation takes long, or they are like another case.
SLOW = (
    *(
        f"fusion {name}"
        for name in ("outer_product", "attention_pooling", "sum_logits", "mmvae", "published_mmvae", "misa", "mmim", "self_mm")
    ),
    *(f"aligned {name}" for name in ("raven", "mfn", "graph_mfn", "mfm", "mctn", "film_blocks")),
)

# The output of MCTN depends on its source alone; another fusion sees the others.
OTHERS = Only(("two", "three"), WeightedSum(6))

# Fusions of modalities that are aligned in time and have equal widths.
ALIGNED = {
    "append": (Append(), Classifier(CLASSES)),
    "pixel_shuffle": (PixelShuffle(MLPConnector(6), side=3, grid=(3, 3)), Classifier(CLASSES)),
    "grid_mean": (GridMean(MLPConnector(6), side=3, grid=(3, 3)), Classifier(CLASSES)),
    "each_step": (EachStep(GMU(width=6, dropout=0.3)), Classifier(CLASSES)),
    "side_by_side": (SideBySide(), Classifier(CLASSES)),
    "context_over": (ContextOver(SideBySide(), LSTM(4), dropout=0.3), Classifier(CLASSES)),
    "mag": (MAG("one", dropout=0.3), Classifier(CLASSES)),
    "raven": (RAVEN("one", dropout=0.3), Classifier(CLASSES)),
    "mfn": (MFN(features=4, memory=6, hidden=5, dropout=0.3), Classifier(CLASSES)),
    "graph_mfn": (GraphMFN(features=4, memory=6, vertex=5, inner=3, hidden=5, dropout=0.3), Classifier(CLASSES)),
    "mctn": (Parallel({"one": MCTN("one", ("two", "three"), width=6), "others": OTHERS}, Append()), Classifier(CLASSES)),
    "film_blocks": (FiLMBlocks("one", (3, 3), width=4, depth=1), Classifier(CLASSES)),
    "mfm": (MFM(width=8, features=3, memory=4, hidden=5, dropout=0.3), Classifier(CLASSES)),
}
