"""Recovery: what wins back the accuracy that pruning cost, and the curve that shows it."""
