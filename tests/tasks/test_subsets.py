"""The subsets of modalities and their names."""

from mmjax.tasks.subsets import subset_name, subsets_of


def test_subsets_of():
    assert subsets_of(("text", "audio", "image")) == (
        ("audio",),
        ("image",),
        ("text",),
        ("audio", "image"),
        ("audio", "text"),
        ("image", "text"),
        ("audio", "image", "text"),
    )
    assert [len(subsets_of([str(i) for i in range(n)])) for n in range(7)] == [0, 1, 3, 7, 15, 31, 63]  # 2^n - 1
    assert [len(subset) for subset in subsets_of([str(i) for i in range(8)])] == [1] * 8 + [7] * 8 + [8]


def test_subset_name():
    assert subset_name(("audio", "text")) == "audio+text"
