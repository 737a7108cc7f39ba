"""What `scripts/faults.py` injects; the rows of its table are in `injections.rows`."""
