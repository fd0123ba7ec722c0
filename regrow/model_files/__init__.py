"""Model files, read as data without running what is in them, and written."""
