"""Rankings of encoders and how well they agree with measured accuracies."""
