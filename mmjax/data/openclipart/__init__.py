"""Openclipart: drawings with titles, descriptions and keywords from a Debian package; tags and image-text retrieval."""

__all__ = ["dataset", "files", "tfds", "words"]
