"""A small language model from scratch on 70 kB of text: does it beat an n-gram model, and what is a pretrained one worth?"""

from dataclasses import dataclass, replace

import optax

from mmjax.data.byte_level import ByteLevel
from mmjax.data.documents import Documents, PackedDocuments
from mmjax.data.wesnoth.dataset import Wesnoth
from mmjax.decoders import Factored, LanguageModel, PackedDecoder, smollm2_135m
from mmjax.encoders import LoRA, NoTokens
from mmjax.experiment import Experiment, main
from mmjax.fusion import Append
from mmjax.losses import CrossEntropy, On
from mmjax.pretrained.language_text import LanguageText
from mmjax.tasks import Likelihood
from mmjax.train.optim import AdamW
from mmjax.train.stages import Stage

VOCABULARY, TOKENS, CHARACTERS = 512, 384, 800
TEXTS = Documents(
    Wesnoth(languages=("en",), image_size=16, frames=1),
    column="english",
    document_tokenizer=ByteLevel(VOCABULARY),
    window_tokens=TOKENS,
    max_characters=CHARACTERS,
)
SMOL = "smollm2-135m-instruct"


@dataclass(frozen=True)
class NoTraining:
    """An optimiser whose updates are zero: the published model is scored as it is."""

    def __call__(self, steps: int) -> optax.GradientTransformation:
        return optax.set_to_zero()


BASE = Experiment(
    data=PackedDocuments(TEXTS, row_tokens=TOKENS),
    encoders={"text": NoTokens()},
    fusion=Append(),
    decoders={
        "text": PackedDecoder(
            LanguageModel(VOCABULARY, width=128, depth=2, heads=4, kv_heads=2, hidden=256, positions=TOKENS, dropout=0.1)
        )
    },
    loss=On("text", CrossEntropy()),
    tasks={"text": Likelihood("text", order=4)},
    steps=600,
    batch=4,
    evaluate_every=100,
    optim=AdamW(lr=5e-3, decay=0.1),
)
SHORT = 256  # tokens of SmolLM2 in a row
LORA = replace(
    BASE,
    data=PackedDocuments(replace(TEXTS, document_tokenizer=LanguageText(SMOL), window_tokens=SHORT), row_tokens=SHORT),
    decoders={"text": LoRA(Factored(PackedDecoder(smollm2_135m()), chunk=64), rank=8)},
    weights={"decoders_text/base": SMOL},
    stages=(Stage(learns=("decoders_text/lora",)),),
    steps=24,
    batch=4,
    evaluate_every=24,
    optim=AdamW(lr=1e-3, decay=0.0),
)
ABLATIONS = {"scratch": BASE}
BY_NAME = {"published": replace(LORA, optim=NoTraining(), steps=1, evaluate_every=1), "lora": LORA}

if __name__ == "__main__":
    main(ABLATIONS, by_name=BY_NAME)
