"""Training: architectures by name, schedules of the learning rate, and the fitting loop."""
