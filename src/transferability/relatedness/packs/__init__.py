"""Reference packs: a task without its samples, as a reference, as a target and as a file."""
