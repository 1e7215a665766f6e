"""Solvers: from two tasks to the transformation between them, one file each."""
