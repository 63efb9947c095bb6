"""Scores of models on test sets, and the tables, figures and report made of them."""
