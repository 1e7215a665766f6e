"""The feature transformation: affine maps from target to reference features, and how each is fitted."""
