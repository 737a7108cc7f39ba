"""The Stamps data set: its archives, its table of items, and the tasks on them."""

__all__ = ["dataset", "pack", "pairs", "rows", "table", "tfds"]
