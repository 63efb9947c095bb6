"""Damage: the steps, the random chain of training, faces cut anew, damage by name."""
