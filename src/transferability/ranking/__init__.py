"""Rankings of encoders and how well they agree with measured accuracies."""

from transferability import _moved as _moved
