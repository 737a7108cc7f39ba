"""The openclipart task: tags of drawings, and retrieval between drawings and captions."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmjax.data.build.items import sha256
from mmjax.data.custom.data import table_data
from mmjax.data.custom.input_kinds import Images, Texts
from mmjax.data.custom.reading import named_columns
from mmjax.data.custom.splitting import KFold
from mmjax.data.custom.table import Table
from mmjax.data.custom.target_kinds import Labels, TagSets
from mmjax.data.dataset import Dataset
from mmjax.data.decode import DataError
from mmjax.data.openclipart.files import DROPPED, TABLE, find_drawings
from mmjax.data.text import BPE, TokenizerTrainer

__all__ = ["GROUPS", "Drawings", "Openclipart", "digest_of_ids", "frequent_tags", "groups_of"]

GROUPS = Path(__file__).with_name("groups.txt")
"""The leak-free group of each drawing, in the order of the table; see CARD.md for how it was made. The first line is a comment
with the digest of the ids."""


@dataclasses.dataclass(frozen=True)
class Openclipart:
    """Drawings with captions: modalities "image" and "text"; a drawing without a caption has no text.

    Targets: "tags", Int[n l], the keywords that drawings of at least `tag_groups` leak-free groups have (multi-label), -1
    everywhere for drawings without any keyword; "folder", Int[n], the folder of the drawing, -1 for small folders and
    "unsorted". Captions are also in the metadata ("text"), as strings. For retrieval, `Retrieve("image.embedding",
    "text.embedding")` uses the drawings with a caption. A group is a series, such as an icon theme, or drawings that are near-
    duplicates in image or text; it is in one split.

    image_size: pixels per side. tokenizer: trained on the training captions. max_tokens: longer captions are truncated.
    tag_groups: see above. folds, fold, split_seed: grouped k-fold, stratified by folder; fold `fold` is the test split, the
    next one validation, the rest training.
    root: a folder that `mmjax.data.openclipart.files.unpack` has made; None: the package is fetched once through apt-get
    (25 MB) and drawn, which takes some minutes. groups: the file of groups.
    """

    image_size: int = 48
    tokenizer: TokenizerTrainer = BPE()
    max_tokens: int = 24
    tag_groups: int = 20
    folds: int = 5
    fold: int = 0
    split_seed: int = 0
    root: Path | None = None
    groups: Path = GROUPS

    def __post_init__(self):
        if self.tag_groups < 1:
            raise DataError(f"Openclipart.tag_groups is {self.tag_groups}; it must be at least 1")
        KFold(self.folds, self.fold, self.split_seed)  # raises DataError for a fold that does not exist

    def at_fold(self, fold: int) -> "Openclipart":
        """The same data with this test fold. Ids and groups do not depend on it."""
        return dataclasses.replace(self, fold=fold)

    def load(self) -> Dataset:
        """Reads the drawings and fits tokenizer and z-scores on the training split. Raises DataError."""
        folder = find_drawings(self.root)
        kinds = {
            "image": Images(self.image_size),
            "text": Texts(self.tokenizer, self.max_tokens),
            "folder": Labels(),
            "tags": TagSets(),
        }
        inputs, targets = named_columns(["image", "text"]), named_columns(["folder", "tags"])
        split = KFold(self.folds, self.fold, self.split_seed)
        drawings = Drawings(folder, self.tag_groups, self.groups)
        data = table_data(drawings, inputs, targets, kinds, ("group",), "id", split).load()
        left_out = json.loads((folder / DROPPED).read_text(encoding="utf-8"))
        dropped = {f"drawings: {reason}": len(ids) for reason, ids in left_out.items() if ids}
        return dataclasses.replace(data, dropped={**data.dropped, **dropped})


@dataclasses.dataclass(frozen=True)
class Drawings:
    """The table of a folder, with groups and cleaned targets. tag_groups: as in `Openclipart`. groups: the file of groups.

    Tags and folders of fewer groups are left out.
    """

    folder: Path
    tag_groups: int = 20
    groups: Path = GROUPS

    def read(self) -> Table:
        with (self.folder / TABLE).open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        groups = groups_of([row["id"] for row in rows], self.groups, self.folder / TABLE)
        cells: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
        frequent = partial(frequent_tags, groups=groups, least=self.tag_groups)
        folders = frequent([[] if name == "unsorted" else [name] for name in cells["folder"]])
        tags = frequent(cells["tags"])
        return Table(TABLE, {
            "id": cells["id"],
            "image": [self.folder / name for name in cells["image"]],
            "text": [text or None for text in cells["text"]],
            "folder": [own[0] if own else None for own in folders],
            "tags": [kept if stated else None for kept, stated in zip(tags, cells["tags"])],
            "group": groups,
            "title": cells["title"],
            "artist": cells["artist"],
        }, self.folder)  # fmt: skip


def groups_of(ids: Sequence[str], file: Path, table: Path) -> list[int]:
    """The group of each drawing. file: a line "# " + `digest_of_ids`, then one number per drawing, in the order of the ids.

    table: where the ids are from, for the error. Raises DataError if the file is for other ids or another order.
    """
    first, _, rest = file.read_text(encoding="utf-8").partition("\n")
    groups = rest.split()
    if first != f"# {digest_of_ids(ids)}" or len(groups) != len(ids):
        raise DataError(
            f"{table}: its {len(ids)} drawings are not those of {file.name}, which has groups for {len(groups)}; delete the "
            "folder to make it anew with the renderer that the package names"
        )
    return [int(number) for number in groups]


def digest_of_ids(ids: Sequence[str]) -> str:
    """sha256 of the ids, joined by line breaks."""
    return sha256("\n".join(ids).encode())


def frequent_tags(tags: Sequence[Sequence[str]], groups: Sequence[int], least: int) -> list[list[str]]:
    """The tags of each row that rows of at least `least` groups have."""
    of = defaultdict(set)
    for own, group in zip(tags, groups, strict=True):
        for tag in own:
            of[tag].add(group)
    return [[tag for tag in own if len(of[tag]) >= least] for own in tags]
