"""The grid of `benchmarks/channel_defaults.py`."""
