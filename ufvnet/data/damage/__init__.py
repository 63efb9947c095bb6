"""Damage of LR images: single steps, the random chain of trainings, faces cut again, damage by name."""
