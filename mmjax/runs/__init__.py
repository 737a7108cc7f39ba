"""The run folder: its schema, writing and reading. No other package depends on the format."""

__all__ = ["answers", "examples", "folder", "model", "read", "schema", "write"]
