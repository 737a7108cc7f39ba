"""A wrapper that adds texts describing the classes of a data set, for zero-shot classification."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import tyro

from mmjax.data.dataset import Column, Dataset, Rows
from mmjax.data.decode import DataError
from mmjax.data.splits import folds_of, with_fold

__all__ = ["LANGUAGE", "PROMPT", "ClassPrompts"]

PROMPT = "prompt"  # the target with the class of each prompt
LANGUAGE = "prompt_language"  # the metadata column with the language of each prompt, "" if it has none


@dataclasses.dataclass(frozen=True)
class ClassPrompts:
    """The same data with class prompts: additional rows of weight 0 that have a text and no other modality.

    data: any value with `load() -> Dataset`, such as Stamps(). target: the target whose classes are described. templates: texts
    with "{}" for the name of the class, in which "_" becomes a space; each class has one prompt per template. modality: the
    text modality; its column needs `encode`.
    languages: {language: templates}, such as `mmjax.data.prompt_templates.TEMPLATES`, which are used instead of `templates`.
    names: {language: names of all classes in that language}, in the order of the classes; other languages use the names of the
    data. Raises DataError for a template without "{}", and for names of a language without templates.

    The prompts are the last rows of the validation split and of the test split. They have no target except "prompt", the number
    of the class, which is -1 for all other rows. The metadata column "prompt_language" is their language. Losses and other
    tasks ignore them, since their weight is 0.
    """

    data: Annotated[Any, tyro.conf.arg(name="")]
    target: str = "label"
    templates: tuple[str, ...] = ("{}",)
    modality: str = "text"
    languages: tyro.conf.Suppress[Mapping[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict, hash=False)
    names: tyro.conf.Suppress[Mapping[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self):
        by_language = {f"languages[{language!r}]": given for language, given in self.languages.items()}
        for field, given in (by_language or {"templates": self.templates}).items():
            if not given or not all("{}" in template for template in given):
                raise DataError(f"ClassPrompts.{field} is {given!r}; each template needs a '{{}}' for the class name")
        if unknown := sorted(set(self.names) - set(self.languages)):
            raise DataError(f"ClassPrompts.names has {unknown[0]!r}; the languages with templates are {sorted(self.languages)}")

    @property
    def folds(self) -> int:
        return folds_of(self.data)

    def at_fold(self, fold: int) -> "ClassPrompts":
        """The same data with this test fold."""
        return dataclasses.replace(self, data=with_fold(self.data, fold))

    def load(self) -> Dataset:
        """Loads the data and adds the prompts.

        Raises DataError if the target has no classes, if the modality cannot encode texts, or if the metadata do not have one
        entry per row.
        """
        dataset = self.data.load()
        if self.target not in dataset.classes:
            known = ", ".join(sorted(dataset.classes)) or "none"
            raise DataError(f"ClassPrompts.target is {self.target!r}; the targets with classes are {known}")
        column = dataset.columns.get(self.modality)
        if column is None or column.parse is None:
            able = ", ".join(sorted(name for name, other in dataset.columns.items() if other.parse)) or "none"
            raise DataError(f"ClassPrompts.modality is {self.modality!r}; the modalities that can read new texts are {able}")
        prompts, languages = self._prompts(dataset.classes[self.target])
        label = np.repeat(np.arange(len(dataset.classes[self.target]), dtype=np.int32), len(languages))
        splits, metadata = {}, {}
        for split, rows in dataset.splits.items():
            added = 0 if split == "train" else len(prompts)
            splits[split] = _with_prompts(rows, label[:added], self.modality, column.count)
            metadata[split] = _metadata(dataset, split, prompts[:added], languages)
        digest = hashlib.sha256(f"{dataset.fingerprint} prompts {self.target} {self.modality} {prompts} {languages}".encode())
        return dataclasses.replace(
            dataset,
            columns={**dataset.columns, self.modality: _extended(column, prompts)},
            splits=splits,
            metadata=metadata,
            media=partial(_media, dataset, prompts),
            fingerprint=digest.hexdigest(),
        )

    def _prompts(self, classes: Sequence[str]) -> tuple[list[str], list[str]]:
        """The prompts of all classes, class by class, and the languages of those of one class."""
        known = [name.replace("_", " ") for name in classes]
        for language, names in self.names.items():
            if len(names) != len(classes):
                given = f"ClassPrompts.names[{language!r}] has {len(names)} names"
                raise DataError(f"{given}; {self.target!r} has {len(classes)} classes: {', '.join(known)}")
        every = [
            (language, template, self.names.get(language, known))
            for language, templates in (self.languages or {"": self.templates}).items()
            for template in templates
        ]
        prompts = [template.replace("{}", names[k]) for k in range(len(classes)) for _, template, names in every]
        return prompts, [language for language, *_ in every]


def _extended(column: Column, prompts: Sequence[str]) -> Column:
    """The column with the prompts as further items."""
    extend = lambda known, added: partial(_item, column.count, known, added, prompts)
    return dataclasses.replace(
        column,
        count=column.count + len(prompts),
        read=extend(column.read, column.parse),
        original=column.original and extend(column.original, str),
        fingerprint=column.fingerprint and hashlib.sha256(f"{column.fingerprint} {prompts}".encode()).hexdigest(),
    )


def _item(count: int, known: Callable, added: Callable, prompts: Sequence[str], number: int) -> Any:
    return known(number) if number < count else added(prompts[number - count])


def _with_prompts(rows: Rows, label: np.ndarray, modality: str, first: int) -> Rows:
    """The rows, followed by one row per prompt. label: Int[p], their classes. first: the number of the first prompt item."""
    extend = lambda array, values: np.concatenate([array, np.broadcast_to(values, (len(label), *array.shape[1:]))])
    absent = {name: np.full(len(label), -1, pointer.dtype) for name, pointer in rows.pointer.items()}
    absent[modality] = np.arange(first, first + len(label), dtype=absent[modality].dtype)
    missing = {name: target.dtype.type(np.nan if target.dtype.kind == "f" else -1) for name, target in rows.targets.items()}
    targets = {name: extend(np.asarray(target), missing[name]) for name, target in rows.targets.items()}
    return Rows(
        {name: np.concatenate([pointer, absent[name]]) for name, pointer in rows.pointer.items()},
        targets | {PROMPT: np.concatenate([np.full(len(rows), -1, np.int32), label])},
        extend(np.asarray(rows.weight), np.float32(0)),
    )


def _metadata(dataset: Dataset, split: str, prompts: Sequence[str], languages: Sequence[str]) -> dict[str, np.ndarray]:
    """The metadata of a split and of its prompts, which form one group; in other columns, prompts have "" or -1.

    languages: of the prompts of one class.
    """
    known, count = dataset.metadata[split], len(prompts)
    if len(known["id"]) != len(dataset.splits[split]):
        raise DataError("ClassPrompts needs metadata for each row, and these data have them for each labelled step")
    largest = max(int(metadata["group"].max()) for metadata in dataset.metadata.values())
    values = {name: np.full(count, "" if array.dtype.kind in "UO" else -1) for name, array in known.items()}
    values["id"] = np.array([f"{split} prompt {number}" for number in range(count)], str)
    values["group"] = np.full(count, largest + 1 + sorted(dataset.splits).index(split))
    if "text" in values:
        values["text"] = np.array(prompts, str)
    extended = {name: np.concatenate([array, values[name].astype(array.dtype.kind)]) for name, array in known.items()}
    spoken = np.array([*[""] * len(known["id"]), *languages * (count // len(languages))], str)
    return extended | {LANGUAGE: spoken}


def _media(dataset: Dataset, prompts: Sequence[str], row: int) -> dict[str, Any]:
    prompt = row - len(dataset.splits["test"])
    return dataset.media(row) if prompt < 0 else {"id": f"test prompt {prompt}", "caption": prompts[prompt]}
