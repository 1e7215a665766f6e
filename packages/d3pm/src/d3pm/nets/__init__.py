"""Nets: a U-Net for pictures, a transformer and a dilated convolution for text, and the head that they share."""
