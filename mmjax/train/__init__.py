"""Training: optimisers, the step, stages, all seeds at once, plans for one or several devices, checkpoints and the loop."""
