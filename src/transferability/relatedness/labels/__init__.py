"""The label transformation: the prior `D`, the map `B`, and the reference class of each target class."""
