"""From an encoder and a data set to features, kept on disk."""
