"""Training: architectures by name, learning-rate schedules, and the training loop."""
