"""Output for people: credentials are removed, control characters are made visible."""
