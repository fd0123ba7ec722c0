"""Provenance: digests, statements, and the code and environment that made an artifact."""
