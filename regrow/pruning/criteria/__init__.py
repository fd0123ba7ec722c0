"""Criteria: functions that score each unit; a larger score means more important."""
