"""The tables of parts are complete, docs/modules.md contains them, and the contract suite covers every module in them."""

import re
from collections.abc import Mapping
from pathlib import Path

import flax.linen as nn
import pytest

from mmjax import fusion, parts
from tests.contracts.cases import ALIGNED, ENCODERS, FUSIONS
from tests.contracts.decoder_cases import DECODERS
from tests.contracts.head_cases import HEADS
from tests.contracts.loss_cases import LOSSES

PAGE = (Path(__file__).parents[1] / "docs" / "modules.md").read_text()


def test_every_public_part_is_listed():
    assert parts.unlisted() == set()


@pytest.fixture(scope="module")
def table():
    return parts.table()


def test_the_page_has_the_table(table):
    assert table in PAGE


def test_parameters_of_published_models(table):
    """The numbers of torchvision and transformers without classifiers and without the pooler of BERT."""
    numbers = {cells[1].strip(" `"): int(cells[4].replace(",", "")) for cells in (
        line.split("|") for line in table.splitlines() if re.match(r"\| `", line) and line.count("|") == 6
    )}  # fmt: skip
    assert numbers["vgg16()"] == 138_357_544 - 4_097_000
    assert numbers["resnet50()"] == 25_557_032 - 2_049_000
    assert numbers["vit_b16()"] == 86_567_656 - 769_000
    assert numbers["bert_base()"] == 109_482_240 - 590_592


def types_in(module):
    """The names of the types of a module and of the modules in its fields."""
    if isinstance(module, Mapping):
        return set().union(*map(types_in, module.values()))
    if not isinstance(module, nn.Module):
        return set()
    fields = (getattr(module, name) for name in module.__dataclass_fields__ if name not in ("parent", "name"))
    return {type(module).__name__}.union(*map(types_in, fields))


def test_every_module_is_in_the_contract_suite():
    tested = {type(module).__name__ for module, _ in ENCODERS.values()}
    tested |= set().union(*(types_in(module) for cases in (FUSIONS, ALIGNED, HEADS) for module, _ in cases.values()))
    listed = {type(part.module).__name__ for part in (*parts.ENCODERS, *parts.FUSIONS, *parts.HEADS)}
    # tests/fusion/test_steps.py; an encoder that no input influences; integers, which have no gradients (test_qlora.py)
    assert listed - tested == {"EachToken", "NoTokens", "QLoRA"}
    tested = {type(module).__name__ for module in DECODERS.values()}
    # tests/decoders/test_wrappers.py: factored logits are no array, and a packed row has no prefix
    assert {type(part.module).__name__ for part in parts.DECODERS} - tested == {"Factored", "PackedDecoder"}


def test_the_page_of_equality_names_every_fusion():
    """In the table, among the variants with their published constructors, or among those that follow no paper."""
    page = (Path(__file__).parents[1] / "docs" / "architectures.md").read_text().partition("## Published fusions")[2]
    named = set(re.findall(r"\w+", page))
    others = {"FusionOutput", "published", "PublishedMulT", "SharedClassifier"}  # the last two: published.mult, published.mbt
    assert set(fusion.__all__) - others - named == set()
    assert {name for name in fusion.published.__all__ if not name.endswith("_heads")} - named == set()


def test_every_loss_is_in_the_contract_suite():
    tested = {type(part).__name__ for loss in LOSSES.values() for part in (loss, *vars(loss).values())}
    assert set(parts.LOSSES) <= tested | set(LOSSES)
