"""Recovery: techniques that restore the accuracy lost in pruning, and the recovery curve."""
