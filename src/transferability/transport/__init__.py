"""Optimal transport between samples."""
