"""Robust, private and small models: attacks, defences, differential privacy, pruning, quantisation and distillation."""

__all__: list[str] = []
