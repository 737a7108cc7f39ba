"""The units of Wesnoth, read from scripts and images: texts, sprite, animations, and groups of related units."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mmjax.data.decode import DataError, decode_text
from mmjax.data.groups import connected_groups, pairs_sharing_a_key
from mmjax.data.wesnoth.scripts import Block, frame_names, parse

__all__ = ["IMAGES", "RACES", "SCRIPTS", "SENTENCE", "Animation", "Unit", "groups_of", "longest_animation", "units_of"]

SCRIPTS, IMAGES, RACES = "data/core/units/", "data/core/images/", "data/core/units.cfg"
SENTENCE = 5  # words of a sentence that only related units share


class Animation(NamedTuple):
    """kind: the tag of its block, such as "attack_anim" or "death". weapon: the name of the attack that it shows, "" for other
    animations and if the script does not say which. files: of its images, in the order in which they are shown; images that
    several frames repeat are listed again. Files need not exist."""

    kind: str
    weapon: str
    files: tuple[str, ...]


class Unit(NamedTuple):
    """A unit with a description. name, race, description: in English, as in the script; race: the name in lower case, "" if the
    script names none. image: the file of its sprite, "" if there is none. promotions: the ids of the units that it may become.
    animations: with those of its female form, in the order of the script."""

    id: str
    name: str
    race: str
    description: str
    image: str
    promotions: tuple[str, ...]
    animations: tuple[Animation, ...]


def units_of(files: Mapping[str, bytes]) -> list[Unit]:
    """The units of all scripts, in the order of the scripts' paths. files: {path: content}, with paths that begin with SCRIPTS,
    IMAGES or RACES. Raises DataError, naming the script, if there is none or one is damaged."""
    races = _races(files)
    found = []
    for path in sorted(name for name in files if name.startswith(SCRIPTS) and name.endswith(".cfg")):
        for block in parse(decode_text(files[path], path), path).inside("unit_type"):
            own = block.values
            if not own.get("description", "").strip() or "id" not in own:
                continue
            if own.get("race") and own["race"] not in races:
                raise DataError(f"{path}: the race {own['race']!r} of {own['id']!r} is not one of {', '.join(sorted(races))}")
            promotions = tuple(one.strip() for one in own.get("advances_to", "").split(",") if one.strip() not in ("", "null"))
            weapons = {attack.values.get("name", ""): attack.values for attack in block.inside("attack")}
            name = own.get("name", own["id"]).rpartition("^")[2]  # translators see a context before ^
            image = IMAGES + (frame_names(own.get("image", "")) or [""])[0]  # without recolouring
            texts = own["id"], name, races.get(own.get("race", ""), ""), own["description"]
            sprite = image if image in files else ""
            found.append(Unit(*texts, sprite, promotions, tuple(_animations(block, weapons))))
    if not found:
        raise DataError(f"{SCRIPTS} has no [unit_type] with a description; the package should be wesnoth-1.16-data")
    return found


def groups_of(units: Sequence[Unit], files: Mapping[str, bytes]) -> list[int]:
    """The number of each unit's group: units that become each other, or that share a sentence of at least SENTENCE words, a
    sprite or an image of an animation."""
    keys = []
    for unit in units:
        images = {file for animation in unit.animations for file in animation.files} | {unit.image}
        sentences = re.split(r"(?<=[.!?])\s+", unit.description)
        keys.append([
            *(("unit", one) for one in (unit.id, *unit.promotions)),
            *(("sentence", one) for one in sentences if len(one.split()) >= SENTENCE),
            *(("image", files[file]) for file in images if file in files),  # several files have the same image
        ])  # fmt: skip
    return connected_groups(len(units), pairs_sharing_a_key(keys)).tolist()


def longest_animation(unit: Unit, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The files of the animation with the most images, without those that are missing; () if all are one image."""
    animations = (tuple(file for file in animation.files if file in files) for animation in unit.animations)
    longest = max(animations, key=len, default=())
    return longest if len(set(longest)) > 1 else ()


def _races(files: Mapping[str, bytes]) -> dict[str, str]:
    """{id: name in lower case}."""
    if RACES not in files:
        raise DataError(f"there is no {RACES}; the package should be wesnoth-1.16-data")
    top = parse(decode_text(files[RACES], RACES), RACES)
    races = [race.values for block in top.inside("units") for race in block.inside("race")]
    names = {own["id"]: own.get("male_name") or own.get("name") or own["id"] for own in races if "id" in own}
    return {key: name.rpartition("^")[2].lower() for key, name in names.items()}


def _animations(unit: Block, weapons: Mapping[str, Mapping[str, str]]) -> Iterator[Animation]:
    for block in unit.blocks:
        if block.tag.endswith("_anim") or block.tag in ("animation", "death", "defend"):
            weapon = _weapon(block, weapons) if block.tag == "attack_anim" else ""
            yield Animation(block.tag, weapon, tuple(_files(block)))
    for other in unit.inside("female", "male"):
        yield from _animations(other, weapons)


def _files(block: Block) -> Iterator[str]:
    """The images of all frames; of alternatives the first. Recoloured and turned images are taken as they are in the files."""
    for child in block.inside("frame", "if"):
        if child.tag == "if":
            yield from _files(child)
        else:
            yield from (IMAGES + name for name in frame_names(child.values.get("image", "")))


def _weapon(block: Block, weapons: Mapping[str, Mapping[str, str]]) -> str:
    """What the player reads for the attack of an animation; "" if the animation does not say which."""
    for chosen in block.inside("filter_attack"):
        name = chosen.values.get("name", "")
        ranged = [own for own in weapons.values() if own.get("range") == chosen.values.get("range", "none")]
        attack = weapons.get(name) or (ranged[0] if len(ranged) == 1 else None)
        if attack:
            return attack.get("description") or attack.get("name", "").replace("-", " ")
    return ""
