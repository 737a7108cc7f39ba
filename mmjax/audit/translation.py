"""The headline metric of a trained cell when its test texts are in other languages."""

import dataclasses
from collections.abc import Sequence

from mmjax.audit.audit import Audit, NotApplicable, interval_panel
from mmjax.audit.audited import Audited
from mmjax.audit.changed import Changed, needed, sampled, unchanged
from mmjax.audit.robustness import ROWS
from mmjax.data.dataset import Dataset
from mmjax.data.inputs import TextInput
from mmjax.data.splits import with_fold
from mmjax.evaluate.statistics import difference

__all__ = ["FIELD", "LANGUAGES", "translations", "with_texts_of"]

LANGUAGES = ("de", "es", "fr", "ru")
FIELD = "test_text_language"


def translations(audited: Audited, languages: Sequence[str] = LANGUAGES, rows: int = ROWS, seed: int = 0) -> Audit:
    """The headline metric with test texts in other languages, which the data must have, by the same tokenizer.

    The data of the cell need a field `test_text_language`, as `Stamps` has. rows, seed: as in `corruptions`. NotApplicable
    without this field or without texts; DataError, with the known ones, for a language that the data do not have.
    """
    data, headline = audited.rebuilt(audited.entry["experiment"]["data"]), audited.headline
    without = NotApplicable(f"the data of cell {audited.cell} have no texts in other languages (a field {FIELD})")
    if not hasattr(data, FIELD):
        raise without
    test = Changed(audited, rows, seed)
    if not _texts(next(iter(test.data.values()))):
        raise without
    found = {"as trained": test.estimates([unchanged])[0]}
    for language in languages:
        other = dataclasses.replace(data, **{FIELD: language})
        loaded = {fold: (other if fold is None else with_fold(other, fold)).load() for fold in test.data}
        texts = {fold: needed(sampled(of, rows, seed), audited.modalities) for fold, of in loaded.items()}
        own = {id(test.data[fold]): of for fold, of in texts.items()}
        (found[language],) = test.estimates([lambda dataset, own=own: with_texts_of(dataset, own[id(dataset)])])
    said = [
        f"With test texts in {language}, {headline} is {one.mean:.3f} instead of {found['as trained'].mean:.3f} "
        f"({difference(one, found['as trained']).verdict})."
        for language, one in found.items()
        if language != "as trained"
    ]
    return Audit(
        name="translations",
        title="Texts in other languages",
        conclusions=tuple(said),
        estimates=found,
        panels=(interval_panel(f"{headline} by language of the test texts", found, headline),),
        note=f"{headline} on {len(test.weight)} units; models and tokenizer know the language of the training texts alone.",
    )


def with_texts_of(dataset: Dataset, other: Dataset) -> Dataset:
    """The data with the test texts of other data, whose test rows are the same examples."""
    names = _texts(dataset)
    rows, of = dataset.splits["test"], other.splits["test"]
    pointer = {**rows.pointer, **{name: of.pointer[name] for name in names}}
    columns = {**dataset.columns, **{name: other.columns[name] for name in names}}
    return dataclasses.replace(dataset, columns=columns, splits={**dataset.splits, "test": rows.replace(pointer=pointer)})


def _texts(dataset: Dataset) -> list[str]:
    return [name for name, column in dataset.columns.items() if isinstance(column.parse, TextInput)]
