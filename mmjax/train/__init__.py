"""Training: the step, all seeds at once, one device or many, checkpoints, the loop."""
