"""Losses of logits that are linear in the features, and how to descend them; `relatedness` and `scores` share it."""
