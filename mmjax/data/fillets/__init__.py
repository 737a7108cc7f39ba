"""Fillets: acted dialogue of a game in Czech and Dutch, with transcripts, English lines, and the image of the level."""

__all__ = ["dataset", "files", "tfds"]
