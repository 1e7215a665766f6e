"""The command `transferability`."""
