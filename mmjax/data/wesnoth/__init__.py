"""Wesnoth: units of a game, with long descriptions in many languages, sprites and animations."""

__all__ = ["animations", "clips", "dataset", "files", "scripts", "tfds"]
