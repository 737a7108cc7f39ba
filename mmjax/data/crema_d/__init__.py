"""CREMA-D: emotions that actors show with face and voice."""

__all__ = ["dataset"]
