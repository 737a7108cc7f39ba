"""Evaluation: predictions for every subset of modalities, scores, and statistics; knows no task by name."""
