"""The recovery benchmark's grid of cells: what they are, how each is run, and what is read from them."""
