"""The run folder: its schema, writing and reading. No other package depends on the format."""

__all__ = ["answers", "folder", "model", "read", "schema", "write"]
