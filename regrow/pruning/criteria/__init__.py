"""What each unit is worth: one number per unit, larger is more important."""
