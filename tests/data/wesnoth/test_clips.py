"""Animations of units become videos with a sentence; lines of promotion stay together."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmjax.data.check import check_dataset
from mmjax.data.decode import DataError
from mmjax.data.text_target import TextTarget
from mmjax.data.wesnoth.clips import UnitClips, clip, sentence
from mmjax.data.wesnoth.files import INSIDE
from mmjax.data.wesnoth.units import IMAGES, RACES, SCRIPTS, Animation, groups_of, longest_animation, units_of
from tests.data.debs import write_deb

UNIT = """
[unit_type]
    id=Unit {k}
    name= _ "female^Unit {k}"
    race={race}
    image="units/u{k}/a.png"
    advances_to={advances}
    description= _ "Text {k}."
    [attack]
        name=long-bow
        description= _"longbow"
        range=ranged
    [/attack]
    [attack_anim]
        [filter_attack]
            range=ranged
        [/filter_attack]
        [if]
            hits=yes
            [frame]
                image="units/u{k}/a-[1~3].png:[50*2,80]"
            [/frame]
        [/if]
        [else]
            [frame]
                image="units/u{k}/none.png:50"
            [/frame]
        [/else]
        [frame]
            image="units/u{k}/a.png:50"
        [/frame]
    [/attack_anim]
    [attack_anim]
        [filter_attack]
            name=unknown
        [/filter_attack]
    [/attack_anim]
    [death]
        [frame]
            image="units/u{k}/a.png:50,units/u{k}/a-1.png:50"
        [/frame]
    [/death]
    [standing_anim]
        [frame]
            image="units/u{k}/a.png:50"
        [/frame]
    [/standing_anim]
    [female]
        [death]
            [frame]
                image="units/u{k}/a.png:50,units/u{k}/a-1.png:50"
            [/frame]
        [/death]
    [/female]
[/unit_type]
"""
COUNT = 8
RACE_NAMES = '[units]\n[race]\nid=elf\nmale_name= _ "race^Elf"\n[/race]\n[race]\nid=orc\nname= _ "Orc"\n[/race]\n[/units]\n'


def png(value: int, side: int) -> bytes:
    Image.new("RGBA", (side, side), (value, 0, 0, 255)).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def core() -> dict[str, bytes]:
    """Unit 0 becomes unit 1; units 2 and 3 share an image."""
    files = {RACES: RACE_NAMES.encode()}
    for k in range(COUNT):
        script = UNIT.format(k=k, race=("elf", "orc")[k % 2], advances="Unit 1" if k == 0 else "null")
        files[f"{SCRIPTS}{k}.cfg"] = script.replace("u3/a.png", "u2/a.png").encode()
        for n, name in enumerate(("a", "a-1", "a-2", "a-3")):
            files[f"{IMAGES}units/u{k}/{name}.png"] = png(20 * k + n, 10 + 2 * n)
    return files


def write_units(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    write_deb(folder / "wesnoth-1.16-data_1_all.deb", {INSIDE + path: data for path, data in core().items()})
    return folder


def test_animations_of_a_unit():
    files = core()
    unit = units_of(files)[0]
    image = lambda name: f"{IMAGES}units/u0/{name}.png"
    assert unit[:6] == ("Unit 0", "Unit 0", "elf", "Text 0.", image("a"), ("Unit 1",))
    attack, unknown, death, standing, female = unit.animations
    assert attack == Animation("attack_anim", "longbow", tuple(map(image, ("a-1", "a-2", "a-3", "a"))))
    assert unknown == Animation("attack_anim", "", ()) and death == female and standing.files == (image("a"),)
    assert [sentence(unit, one) for one in (attack, death)] == ["an elf attacks with its longbow", "an elf dies"]
    assert longest_animation(unit, files) == attack.files
    del files[image("a-1")], files[image("a-2")], files[image("a-3")]
    assert longest_animation(unit, files) == ()


def test_a_clip_has_its_images_in_the_middle_of_the_largest():
    attack, _, _, standing, _ = units_of(core())[1].animations
    video = clip(attack, core(), 2)  # the first and the last of 12, 14, 16 and 10 px
    assert video.shape == (2, 12, 12, 4) and (video[0] == [21, 0, 0, 255]).all()
    assert (video[1, 1:11, 1:11] == [20, 0, 0, 255]).all() and not video[1, 0].any() and not video[1, :, 11].any()
    assert clip(attack, {}, 2) is None and clip(standing, core(), 2) is None


def test_units_that_become_each_other_or_share_a_sentence_or_an_image_are_one_group():
    """Unit 7 has no race and no animation, but its description repeats a sentence of unit 5; both say "Text 5.", as does
    unit 6, but in less than 5 words."""
    files = core()
    for k, text in ((5, "Text 5. It sings on every hill."), (6, "Text 5."), (7, "Text 5. It sings on every hill.")):
        files[f"{SCRIPTS}{k}.cfg"] = files[f"{SCRIPTS}{k}.cfg"].replace(b"Text %d." % k, text.encode())
    files[f"{SCRIPTS}7.cfg"] = b'[unit_type]\nid=Unit 7\ndescription="It sings on every hill."\n[/unit_type]'
    files[f"{IMAGES}units/u4/a-3.png"] = files[f"{IMAGES}units/u6/a-1.png"]  # another file with the same image
    units = units_of(files)
    assert units[7] == ("Unit 7", "Unit 7", "", "It sings on every hill.", "", (), ())
    assert groups_of(units, files) == [0, 0, 1, 1, 2, 3, 2, 3]


def test_the_data_set_is_valid_and_has_a_text_target(tmp_path):
    clips = UnitClips(frames=3, size=8, root=write_units(tmp_path), folds=3)
    data = TextTarget(clips, column="summary", target="summary").load()
    check_dataset(data)
    assert {"animations of one image": COUNT, "animations that repeat another": COUNT}.items() <= data.dropped.items()
    groups = [set(of["group"].tolist()) for of in data.metadata.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == COUNT - 2
    assert sum(map(len, data.splits.values())) == 2 * COUNT and data.classes["race"] == ("elf", "orc")
    test = data.metadata["test"]
    ids = np.asarray(data.splits["test"].targets["summary"][0])
    assert data.tokenizers["summary"].text(ids) == test["summary"][0]
    video = data.columns["video"].read(int(data.splits["test"].pointer["video"][0]))
    assert video.x.shape == (3, 8, 8, 4) and video.length == (3 if "attacks" in test["summary"][0] else 2)


def test_wrong_files_and_fields_give_one_line(tmp_path):
    files = core()
    with pytest.raises(DataError, match=r"there is no data/core/units.cfg; the package"):
        units_of({name: data for name, data in files.items() if name != RACES})
    with pytest.raises(DataError, match=r"units/0.cfg: the race 'troll' of 'Unit 0' is not one of elf, orc"):
        units_of({**files, f"{SCRIPTS}0.cfg": files[f"{SCRIPTS}0.cfg"].replace(b"race=elf", b"race=troll")})
    with pytest.raises(DataError, match=r"data/core/units/ has no \[unit_type\] with a description"):
        units_of({RACES: files[RACES]})
    with pytest.raises(DataError, match=r"UnitClips.frames is 0; it must be at least 1"):
        UnitClips(frames=0)


@pytest.mark.slow
def test_the_complete_set_has_the_counts_of_its_card():
    """Fetches the package."""
    data = UnitClips().load()
    check_dataset(data)
    assert sum(map(len, data.splits.values())) == 582
    groups = [set(of["group"].tolist()) for of in data.metadata.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 80
