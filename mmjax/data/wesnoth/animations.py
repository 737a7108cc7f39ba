"""The animations of Wesnoth's units: who acts, what it does with which weapon, and the images in order."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from mmjax.data.decode import DataError, decode_text
from mmjax.data.fetch import members
from mmjax.data.groups import connected_groups, pairs_sharing_a_key
from mmjax.data.wesnoth.files import IMAGES, INSIDE, SCRIPTS
from mmjax.data.wesnoth.scripts import Block, frame_names, parse

__all__ = ["KINDS", "RACES", "Actor", "Animation", "families", "read_actors", "read_core"]

KINDS = ("attack_anim", "death", "defend", "healing_anim", "idle_anim", "movement_anim", "standing_anim")
"""Blocks of animations of a unit. Others show magic of a campaign, or two units at once."""
RACES = "data/core/units.cfg"


class Animation(NamedTuple):
    """kind: one of KINDS. weapon: the name of the attack that it shows, "" for other animations. files: of its images, in the
    order in which they are shown; images that several frames repeat are listed again."""

    kind: str
    weapon: str
    files: tuple[str, ...]


class Actor(NamedTuple):
    """A unit, with English texts. image: the file of its sprite. promotions: ids of the units that it becomes."""

    id: str
    name: str
    race: str
    description: str
    image: str
    promotions: tuple[str, ...]
    animations: tuple[Animation, ...]


def read_core(package: Path) -> dict[str, bytes]:
    """{path: content} of the scripts and images of units. Raises DataError for a damaged package."""
    found = ((name.removeprefix(INSIDE), data) for name, data in members(package, f"{INSIDE}data/core/"))
    return {name: data for name, data in found if name.startswith((SCRIPTS, f"{IMAGES}units/", RACES))}


def read_actors(core: Mapping[str, bytes]) -> list[Actor]:
    """The units that have a race and a description, by id. Raises DataError, naming the script. core: as of `read_core`."""
    races = _races(core)
    found = []
    for path in sorted(name for name in core if name.startswith(SCRIPTS) and name.endswith(".cfg")):
        for block in parse(decode_text(core[path], path), path).inside("unit_type"):
            own = block.values
            if not all(own.get(key) for key in ("id", "race", "description", "image", "name")):
                continue
            if own["race"] not in races:
                raise DataError(f"{path}: the race {own['race']!r} of {own['id']!r} is not one of {', '.join(sorted(races))}")
            promotions = tuple(part.strip() for part in own.get("advances_to", "null").split(",") if part.strip() != "null")
            weapons = {attack.values.get("name", ""): attack.values for attack in block.inside("attack")}
            texts = own["name"].rpartition("^")[2], races[own["race"]], " ".join(own["description"].split())
            image = (frame_names(own["image"]) or [""])[0]
            found.append(Actor(own["id"], *texts, IMAGES + image, promotions, tuple(_animations(block, weapons))))
    if not found:
        raise DataError(f"{SCRIPTS} has no [unit_type] with a description; the package should be wesnoth-1.16-data")
    return sorted(found)


def families(actors: list[Actor]) -> list[int]:
    """The number of each unit's line of promotion; units that share an image of an animation are in one line too."""
    keys = []
    for actor in actors:
        files = {file for animation in actor.animations for file in animation.files} | {actor.image}
        keys.append([("unit", actor.id), *(("unit", one) for one in actor.promotions), *(("file", file) for file in files)])
    return connected_groups(len(actors), pairs_sharing_a_key(keys)).tolist()


def _races(core: Mapping[str, bytes]) -> dict[str, str]:
    """{id: name in lower case}."""
    if RACES not in core:
        raise DataError(f"there is no {RACES}; the package should be wesnoth-1.16-data")
    top = parse(decode_text(core[RACES], RACES), RACES)
    races = [race.values for block in top.inside("units") for race in block.inside("race")]
    names = {own["id"]: own.get("male_name") or own.get("name") or own["id"] for own in races if "id" in own}
    return {key: name.rpartition("^")[2].lower() for key, name in names.items()}


def _animations(unit: Block, weapons: Mapping[str, Mapping[str, str]]) -> Iterator[Animation]:
    for block in unit.inside(*KINDS):
        files = tuple(_files(block))
        for weapon in _weapons(block, weapons) if block.tag == "attack_anim" else ("",):
            yield Animation(block.tag, weapon, files)
    for other in unit.inside("female", "male"):
        yield from _animations(other, weapons)


def _files(block: Block) -> Iterator[str]:
    """The images of all frames; of alternatives the first. Recoloured and turned images are taken as they are in the files."""
    for child in block.inside("frame", "if"):
        if child.tag == "if":
            yield from _files(child)
        else:
            yield from (IMAGES + name for name in frame_names(child.values.get("image", "")))


def _weapons(block: Block, weapons: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What the player reads for the attack of an animation; nothing if the animation does not say which."""
    for chosen in block.inside("filter_attack"):
        name = chosen.values.get("name", "")
        ranged = [own for own in weapons.values() if own.get("range") == chosen.values.get("range", "none")]
        attack = weapons.get(name) or (ranged[0] if len(ranged) == 1 else None)
        if attack:
            yield attack.get("description") or attack.get("name", "").replace("-", " ")
            return
