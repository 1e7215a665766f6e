"""Forward processes: which corruption, and what follows from it."""
