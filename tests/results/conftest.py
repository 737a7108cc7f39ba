import pytest

import mmjax
from tests.results.pets import EXPERIMENT


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A run of two cells and two seeds with predictions."""
    from dataclasses import replace

    text = replace(EXPERIMENT, encoders={"text": EXPERIMENT.encoders["text"]})
    out = tmp_path_factory.mktemp("pets") / "run"
    return mmjax.run({"all": EXPERIMENT, "text": text}, seeds=2, out=out, quiet=True, keep_predictions=True)


@pytest.fixture(scope="session")
def inputs():
    """The raw inputs of the test split, as a user has them."""
    from tests.results.pets import COUNT

    _, images, texts, vectors = EXPERIMENT.data.originals()
    rows = [i for i in range(COUNT) if i % 4 == 3]
    return {
        "image": [images[i] for i in rows],
        "text": [texts[i] for i in rows],
        "vector": [None if i % 5 == 0 else vectors[i] for i in rows],
    }
