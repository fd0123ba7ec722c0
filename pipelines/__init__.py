"""The steps chained, and their execution on this machine."""
