"""easy-VQA: questions about images of one shape, with 13 answers."""

__all__ = ["dataset", "files", "tfds"]
