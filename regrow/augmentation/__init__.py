"""Augmentation: named operations in the TensorFlow graph, policies made of them, and the training input."""
