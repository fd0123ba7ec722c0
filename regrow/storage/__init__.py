"""What lies on disk: how files are opened and read."""
