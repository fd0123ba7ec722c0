"""The pipeline that chains the steps, and its execution on this machine."""
