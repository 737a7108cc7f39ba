"""Code counts if the experiment uses it; docstrings, comments and other fusions do not."""

from mmjax.claims.fingerprints import CHECKOUT, PACKAGE, WEIGHTS, code_fingerprint, files_of
from mmjax.pretrained.wheels import WHEELS

EXPERIMENT = '''"""An experiment."""

from beside import WIDTH
from mmjax.fusion import Concat


def fusion():
    """A fusion."""
    from mmjax.heads import Classifier  # lazily

    return Concat(width=WIDTH), Classifier(2)
'''


def write(tmp_path, text=EXPERIMENT, beside="WIDTH = 3\n"):
    (tmp_path / "beside.py").write_text(beside)
    (tmp_path / "tiny.py").write_text(text)
    return tmp_path / "tiny.py"


def test_the_files_that_count(tmp_path):
    files = files_of(write(tmp_path))
    names = {file.name if file.parent == tmp_path else file.relative_to(CHECKOUT).as_posix() for file in files}
    assert {"tiny.py", "beside.py", "mmjax/fusion/joint.py", "mmjax/heads.py", "mmjax/types.py"} <= names
    assert not {"mmjax/fusion/bottleneck.py", "mmjax/fusion/__init__.py"} & names


def test_what_reads_the_weights_that_an_experiment_names_counts(tmp_path):
    """The encoder, its preprocessing and the checksum of its weights; other architectures do not."""
    ours = lambda files: {path.relative_to(CHECKOUT).as_posix() for path in files if path.is_relative_to(CHECKOUT)}
    names = lambda text: ours(files_of(write(tmp_path, text)))
    text = 'from beside import WIDTH\nfrom mmjax.experiment import main\nWEIGHTS = "{}"\n'
    image = {f"mmjax/{name}.py" for name in ("encoders/efficientnet", "pretrained/efficientnet", "pretrained/images")}
    assert image | {"mmjax/pretrained/wheels.py", "mmjax/pretrained/convert.py"} <= names(text.format("efficientnet-lite2"))
    assert {"mmjax/encoders/whisper.py", "mmjax/pretrained/audio.py"} <= names(text.format("whisper-base#encoder"))
    for other in ("", "a model of minilm", "minilm"):
        text_of = text.format(other) if other != "minilm" else '"""minilm"""\n' + text.format("")
        assert not names(text_of) & {*image, "mmjax/pretrained/loading.py"}
    assert not any("llava" in name or "siglip" in name for name in names(text.format("efficientnet-lite2")))


def test_every_published_weight_has_a_reader():
    for name in WHEELS:
        assert sum(name.startswith(first) for first in WEIGHTS) == 1, name
    assert {(PACKAGE / "pretrained" / f"{reader}.py").is_file() for reader in WEIGHTS.values()} == {True}


def test_packages_that_only_show_results_do_not_count(tmp_path):
    text = "from mmjax.experiment import main\n"
    parts = [path.relative_to(CHECKOUT).parts for path in files_of(write(tmp_path, text)) if path.parent != tmp_path]
    assert ("mmjax", "experiment", "run.py") in parts and ("mmjax", "train", "loop.py") in parts  # imported in functions
    assert not {part[1] for part in parts} & {"report", "audit", "claims"}


def test_what_changes_the_fingerprint(tmp_path):
    before = code_fingerprint(write(tmp_path))
    for text in (EXPERIMENT.replace("A fusion", "Another"), EXPERIMENT.replace("\n\n\n", "\n\n# why\n\n")):
        assert text != EXPERIMENT and code_fingerprint(write(tmp_path, text)) == before
    assert code_fingerprint(write(tmp_path, EXPERIMENT.replace("(2)", "(3)"))) != before
    assert code_fingerprint(write(tmp_path, beside="WIDTH = 4\n")) != before
