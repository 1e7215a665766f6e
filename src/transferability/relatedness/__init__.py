"""Task-relatedness: a reference task transformed until it looks like the target."""
