"""The units of Wesnoth: names, races, descriptions, lines of promotion, and animations as lists of image files."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mmjax.data.decode import DataError, decode_text
from mmjax.data.groups import connected_groups, pairs_sharing_a_key
from mmjax.data.wesnoth.wml import Tag, parse

__all__ = ["ANIMATIONS", "Animation", "Unit", "families", "image_files", "read_units"]

ANIMATIONS = ("attack_anim", "death", "defend", "healing_anim", "idle_anim", "movement_anim", "standing_anim")
"""Tags of animations of a unit. Others show magic of a campaign, or two units at once."""
VARYING = re.compile(r"\[([^\[\]]+)\]")


class Animation(NamedTuple):
    """kind: one of ANIMATIONS. weapon: the name of the attack that it shows, "" for other animations. files: its images, as
    paths below "images/", in the order in which they are shown; images that several frames repeat are listed again."""

    kind: str
    weapon: str
    files: tuple[str, ...]


class Unit(NamedTuple):
    """race, names and descriptions are English. image: a path below "images/". promotions: ids of the units that it becomes."""

    id: str
    name: str
    race: str
    description: str
    image: str
    promotions: tuple[str, ...]
    animations: tuple[Animation, ...]


def read_units(core: Mapping[str, bytes]) -> list[Unit]:
    """The units of the core's configuration files that have a race and a description, by id. Raises DataError.

    core: `files.read_core(package, ("units/", "units.cfg"))`. Units of mounts or disguises without a description are no units.
    """
    races = _races(core)
    found = []
    for path in sorted(name for name in core if name.startswith("units/") and name.endswith(".cfg")):
        for tag in parse(decode_text(core[path], path), path).of("unit_type"):
            own = tag.attributes
            if not all(own.get(key) for key in ("id", "race", "description", "image", "name")):
                continue
            if own["race"] not in races:
                raise DataError(f"{path}: the race {own['race']!r} of {own['id']!r} is not one of {', '.join(sorted(races))}")
            promotions = tuple(part.strip() for part in own.get("advances_to", "null").split(",") if part.strip() != "null")
            weapons = {attack.attributes.get("name", ""): attack.attributes for attack in tag.of("attack")}
            animations = tuple(_animations(tag, weapons))
            texts = own["name"].rpartition("^")[2], races[own["race"]], " ".join(own["description"].split())
            found.append(Unit(own["id"], *texts, _path(own["image"]), promotions, animations))
    if not found:
        raise DataError("units/ has no [unit_type] with a description; the package should be wesnoth-1.16-data")
    return sorted(found)


def families(units: list[Unit]) -> list[int]:
    """The number of each unit's line of promotion; units that share an image of an animation are in one line too."""
    keys = []
    for unit in units:
        files = {file for animation in unit.animations for file in animation.files} | {unit.image}
        keys.append([("unit", unit.id), *(("unit", one) for one in unit.promotions), *(("file", file) for file in files)])
    return connected_groups(len(units), pairs_sharing_a_key(keys)).tolist()


def image_files(value: str) -> list[str]:
    """The files of a frame's image: "a-[1~3].png:[50*2,80]" -> a-1.png, a-2.png, a-3.png; [] if it has macros or changes.

    A list of files has commas outside of brackets. Durations are left out.
    """
    found = []
    for part in re.split(r",(?![^\[]*\])", value):
        file, ending, rest = part.strip().partition(".png")
        if not ending or "{" in part or (rest and not rest.startswith(":")):
            return []
        varying = VARYING.search(file)
        values = _listed(varying[1]) if varying else [""]
        start, end = varying.span() if varying else (len(file), len(file))
        found += [f"{file[:start]}{value}{file[end:]}.png" for value in values]
    return found


def _listed(text: str) -> Iterator[str]:
    """"1~3,x*2" -> 1, 2, 3, x, x; "3~1" counts down. Numbers keep leading zeros."""
    for part in text.split(","):
        value, _, times = part.strip().partition("*")
        first, _, last = value.partition("~")
        values = [value]
        if first.isdecimal() and last.isdecimal():
            step = 1 if int(last) >= int(first) else -1
            width = len(first) if first.startswith("0") else 0
            values = [str(number).zfill(width) for number in range(int(first), int(last) + step, step)]
        for one in values:
            yield from [one] * (int(times) if times.isdecimal() else 1)


def _races(core: Mapping[str, bytes]) -> dict[str, str]:
    """{id: name in lower case}."""
    if "units.cfg" not in core:
        raise DataError("there is no units.cfg; the package should be wesnoth-1.16-data")
    top = parse(decode_text(core["units.cfg"], "units.cfg"), "units.cfg")
    races = [race.attributes for tag in top.of("units") for race in tag.of("race")]
    return {own["id"]: own.get("male_name", own.get("name", own["id"])).rpartition("^")[2].lower() for own in races if "id" in own}


def _animations(unit: Tag, weapons: Mapping[str, Mapping[str, str]]) -> Iterator[Animation]:
    for tag in unit.of(*ANIMATIONS):
        files = tuple(_files(tag))
        for weapon in _weapons(tag, weapons) if tag.name == "attack_anim" else ("",):
            yield Animation(tag.name, weapon, files)
    for other in unit.of("female", "male"):
        yield from _animations(other, weapons)


def _files(tag: Tag) -> Iterator[str]:
    """The images of all frames; of alternatives the first."""
    for child in tag.of("frame", "if"):
        if child.name == "if":
            yield from _files(child)
        else:
            yield from image_files(child.attributes.get("image", ""))


def _weapons(tag: Tag, weapons: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What the player reads for the attack of an animation; nothing if the animation does not say which."""
    for chosen in tag.of("filter_attack"):
        name = chosen.attributes.get("name", "")
        if name in weapons:
            yield weapons[name].get("description") or name.replace("-", " ")
            return
        ranged = [own for own in weapons.values() if own.get("range") == chosen.attributes.get("range", "none")]
        if len(ranged) == 1:
            yield ranged[0].get("description") or ranged[0].get("name", "").replace("-", " ")
            return


def _path(image: str) -> str:
    return image.partition("~")[0].partition(":")[0]
