"""Shoulder exercises from the motion sensors of a watch: the package's file, and the classification of windows."""

__all__ = ["dataset", "files", "tfds"]
