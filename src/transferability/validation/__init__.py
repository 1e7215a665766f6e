"""Do the scores foretell what training gives? Accuracies by training, and how scores agree with them."""
