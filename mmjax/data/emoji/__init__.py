"""Emoji in three drawing styles: the packages' files, and the sentiment and the names of an emoji."""

__all__ = ["dataset", "drawings", "fields", "files", "groups", "names", "table", "tfds"]
