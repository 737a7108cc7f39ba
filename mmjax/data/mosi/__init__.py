"""CMU-MOSI: its published feature files, and the sentiment task on them."""

__all__ = ["dataset", "files", "mmsa"]
