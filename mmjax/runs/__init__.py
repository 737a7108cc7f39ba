"""The run folder: its schema, writing, reading and loading. No other package knows the format."""
