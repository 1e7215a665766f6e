"""The two tasks as they are compared: standardised, sampled, the reference with its classifiers."""
