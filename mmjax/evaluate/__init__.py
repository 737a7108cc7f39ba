"""Evaluation: every subset of modalities, intervals, floors, and the numbers of results.json."""
