"""Source -> example -> transforms -> Batch: reading, cleaning, splitting, preparing and feeding data."""
