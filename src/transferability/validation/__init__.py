"""Accuracies by training, and how well the scores predict them."""
