"""Regrow: prune a trained Keras model, grow its accuracy back, ship it with proof of where it came from."""

import os

# tf_keras is what trains (tfmot needs it); mlflow and tfmot choose between it and Keras 3 by this variable,
# and it must stand before either imports TensorFlow.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Without oneDNN TensorFlow computes no convolution with channels first on a CPU. It switches oneDNN on by itself only
# where the CPU has newer vector units, so that one model would be read on one machine and not on the other.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
