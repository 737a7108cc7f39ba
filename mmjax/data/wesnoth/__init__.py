"""Wesnoth: units of a game, with long descriptions in many languages, sprites and animations."""

__all__ = ["clips", "dataset", "files", "scripts", "tfds", "units"]
