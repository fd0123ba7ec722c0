"""Pruning: how much each kernel bears, masks through tfmot, and the value that records them."""
