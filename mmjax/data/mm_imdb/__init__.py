"""MM-IMDb: posters and plots of movies, with their genres."""

__all__ = ["dataset"]
