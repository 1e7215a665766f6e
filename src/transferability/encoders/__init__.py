"""Encoders: anything that turns pictures or texts into features."""
