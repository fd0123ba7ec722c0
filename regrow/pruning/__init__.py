"""Pruning: which blocks, channels or weights to remove, how to remove them, and a record of what was removed."""
