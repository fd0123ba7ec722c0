"""`params.yaml`: its sections, how they are validated, the document that they make."""
