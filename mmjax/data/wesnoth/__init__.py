"""Wesnoth: units of a game, with descriptions, images and animations."""

__all__ = ["clips", "files", "units", "wml"]
