"""Keras 3 in and out: its configs, operations and weights as those of `tf_keras`, and back."""
