"""What each layer class does to channels: one rule per class, in a registry that users can extend."""
