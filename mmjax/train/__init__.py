"""Training: optimisers, the step, stages, all seeds at once, plans for one or several devices, checkpoints and the loop."""

__all__ = [
    "balance", "checkpoint", "finite", "loop", "monitor", "optim", "parallel", "rates", "seeds", "stages", "step", "stop",
    "training",
]
