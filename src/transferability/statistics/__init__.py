"""Sufficient statistics of features and labels."""
