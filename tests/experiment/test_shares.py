import dataclasses

import pytest

from mmjax.data.few import Few
from mmjax.experiment.options import Options
from mmjax.experiment.shares import fewer, with_shares
from mmjax.experiment.value import ExperimentError
from mmjax.tasks import Retrieve
from tests.results.pets import EXPERIMENT, Pets


@dataclasses.dataclass(frozen=True)
class Wrapper:
    data: Pets = Pets()

    def load(self):
        return self.data.load()


def test_each_cell_has_copies_with_less_data():
    cells = with_shares({"a": EXPERIMENT, "b": EXPERIMENT}, (0.5, 0.25))
    assert list(cells) == ["a.0.25", "a.0.5", "a", "b.0.25", "b.0.5", "b"]
    assert cells["a"] is EXPERIMENT
    assert cells["a.0.25"] == dataclasses.replace(EXPERIMENT, data=Few(Pets(), 0.25, "kind"))
    assert with_shares({"a": EXPERIMENT}, ()) == {"a": EXPERIMENT}


def test_rows_are_left_out_inside_wrappers():
    """So that the statistics of a wrapper are those of the rows that remain."""
    assert fewer(Wrapper(), 0.5, "kind") == Wrapper(Few(Pets(), 0.5, "kind"))


def test_a_share_is_a_fraction():
    with pytest.raises(ExperimentError, match="--shares has 1;"):
        Options(shares=(0.5, 1.0)).check()


def test_targets_that_are_no_class_of_a_row_do_not_divide_the_groups():
    """24 training groups: a third of all of them, and of each class rounded."""
    for stratify in ("", "age", "tags"):
        kept = Few(Pets(), 1 / 3, stratify).load()
        assert len(kept.splits["train"]) == 8 and len(kept.splits["test"]) == 12, stratify
    found = with_shares({"a": dataclasses.replace(EXPERIMENT, tasks={"t": Retrieve("a.x", "b.x")})}, (0.5,))
    assert found["a.0.5"].data == Few(Pets(), 0.5, "")
