"""Evaluation of any `Task`: predictions for every subset of modalities, scores, and statistics."""
