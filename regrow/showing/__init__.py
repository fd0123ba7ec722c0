"""What people are shown: credentials are left out, control characters are made visible."""
