"""Emoji in three drawing styles: the packages' files, and the sentiment of an emoji from its drawing and its names."""

__all__ = ["dataset", "drawings", "files", "groups", "table", "tfds"]
