"""Evaluation of any `Task`: predictions for every subset of modalities, scores, and statistics."""

__all__ = ["attention", "predict", "same", "score", "statistics"]
