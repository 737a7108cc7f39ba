"""Claim files: what is read, and one line for each mistake."""

import pytest

from mmjax.claims.claim import Better, Cheaper, ClaimError, Equal, Near, read_claim, read_claims

VALID = """
claim = "Both are better than one."
source = "A paper, table 1"
data = "Some rows"
contradicted_by = "one being better"
command = "python experiments/tiny.py both one --seeds 5"
minutes = 1
[[better]]
cell = "both"
than = "one"
metric = "accuracy"
by = -0.01
"""


def read(tmp_path, text):
    file = tmp_path / "some.toml"
    file.write_text(text)
    return read_claim(file)


def test_a_claim_with_every_kind_of_expectation(tmp_path):
    more = """
[[better]]
cell = "both"
metric = "mae"
than = ["one", "two"]
baselines = "mean"
subset = "a+b"
task = "age"
[[equal]]
cell = "both"
to = "one"
metric = "accuracy"
within = 0.02
[[near]]
cell = "both"
metric = "accuracy"
number = 1
within = 0.02
[[cheaper]]
cell = "one"
than = "both"
cost = "flops"
ratio = 0.5
"""
    claim = read(tmp_path, VALID + more)
    assert (claim.name, claim.minutes, claim.needs) == ("some", 1.0, "")
    assert claim.words == ["experiments/tiny.py", "both", "one", "--seeds", "5"]
    assert claim.expectations == (
        Better("both", "accuracy", ("one",), by=-0.01),
        Better("both", "mae", ("one", "two"), ("mean",), "age", "a+b"),
        Equal("both", "accuracy", ("one",), 0.02),
        Near("both", "accuracy", 1.0, 0.02),
        Cheaper("one", "flops", ("both",), 0.5),
    )
    assert [str(one) for one in claim.expectations] == [
        "accuracy of both is better than that of one or worse by less than 0.01",
        "mae of both is better than that of one, two, mean, task age, a+b present",
        "accuracy of both equals that of one within 0.02",
        "accuracy of both is 1 within 0.02",
        "one has at most 0.5 of the flops of both",
    ]


def test_only_the_command_and_the_expectations_decide(tmp_path):
    before = read(tmp_path, VALID).fingerprint
    assert read(tmp_path, VALID.replace("A paper", "Another paper")).fingerprint == before
    for old, new in (("--seeds 5", "--seeds 6"), ("-0.01", "0.0"), ('than = "one"', 'than = "two"')):
        assert read(tmp_path, VALID.replace(old, new)).fingerprint != before


def test_a_claim_without_data_needs_no_command(tmp_path):
    text = VALID.split("command")[0]
    assert read(tmp_path, text + 'needs = "the data of the paper"').expectations == ()
    with pytest.raises(ClaimError, match=r"missing field 'command'; a claim without one must say what it 'needs'"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('data = "Some rows"', "", "missing field 'data'"),
        ('"Some rows"', '"  "', "field 'data' is empty"),
        ('"Some rows"', "3", "field 'data' must be a text, not 3"),
        ("minutes = 1", "minutes = true", "field 'minutes' must be a number, not True"),
        ("minutes = 1", "minutes = 0", "field 'minutes' must be the CPU minutes of the command, above 0, not 0"),
        ("minutes = 1", "hours = 1", "unknown field 'hours'; the fields are name, claim"),
        ("minutes = 1", 'name = "other"', "unknown field 'name'"),
        ("python exp", "bash exp", "field 'command' must be 'python experiments/NAME.py CELL ...', not 'bash"),
        ("--seeds 5", "--out here", "field 'command' has --out, which `run` adds itself or cannot use"),
        ("--seeds 5", "--resume", "field 'command' has --resume"),
        ("--seeds 5", "'", "field 'command': No closing quotation"),
        ("[[better]]", "[better]", "'better' must be a table [[better]]"),
        ("[[better]]", "[[best]]", "unknown field 'best'"),
        ('metric = "accuracy"', "", "better[0].missing field 'metric'"),
        ('than = "one"', "", "better[0].than: name a cell, or a baseline in 'baselines'"),
        ('than = "one"', "than = [1]", "better[0].field 'than' must be a text or a list of texts, not [1]"),
        ("by = -0.01", 'by = "much"', "better[0].field 'by' must be a number, not 'much'"),
        ("by = -0.01", 'task = ["a"]', "better[0].field 'task' must be a text, not ['a']"),
        ("by = -0.01", "within = 0.1", "better[0].unknown field 'within'"),
        ("by = -0.01", '[[equal]]\ncell="a"\nto="b"\nmetric="m"\nwithin=0', "equal[0].within is 0; it must be above 0"),
        ("by = -0.01", '[[cheaper]]\ncell="a"\nthan="b"\ncost="money"', "cheaper[0].cost is 'money'; it must be one of param"),
        ("[[better]]", "[[better", "not TOML"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_field(tmp_path, old, new, message):
    assert old in VALID
    with pytest.raises(ClaimError) as caught:
        read(tmp_path, VALID.replace(old, new))
    line = str(caught.value)
    assert line.startswith(str(tmp_path / "some.toml")) and message in line and "\n" not in line, line


def test_a_claim_needs_an_expectation(tmp_path):
    with pytest.raises(ClaimError, match=r"no expectation; write a table \[\[better\]\], \[\[equal\]\]"):
        read(tmp_path, VALID.split("[[better]]")[0])


def test_an_empty_folder(tmp_path):
    with pytest.raises(ClaimError, match=r"has no .toml files"):
        read_claims(tmp_path)
