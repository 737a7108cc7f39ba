"""Training: optimisers, the step, stages, all seeds at once, plans for one or several devices, checkpoints and the loop."""

__all__ = [
    "accumulate", "average", "balance", "checkpoint", "finite", "loop", "monitor", "optim", "parallel", "previous_batch",
    "rates", "seeds", "sharded", "stages", "step", "stop", "training", "unimodal_labels",
]  # fmt: skip
