"""Digests, statements, and what code and environment made an artifact."""
