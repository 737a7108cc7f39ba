"""The run folder: its schema, writing and reading. No other package depends on the format."""

__all__ = ["folder", "model", "read", "schema", "write"]
