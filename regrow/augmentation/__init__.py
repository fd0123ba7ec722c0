"""Augmentation: named operations in the TensorFlow graph, policies of them, and the input of training."""
