"""Regrow: prune a trained Keras model, grow its accuracy back, ship it with proof of where it came from."""

import os

# tf_keras is what trains (tfmot needs it); mlflow and tfmot choose between it and Keras 3 by this variable,
# and it must stand before either imports TensorFlow.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

__version__ = "0.1.0"
