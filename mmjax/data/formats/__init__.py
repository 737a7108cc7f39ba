"""Common formats of data sets on disk. Each loader returns the same value as `mmjax.data.from_manifest`."""
