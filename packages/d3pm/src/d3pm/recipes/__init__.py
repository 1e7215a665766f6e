"""Recipes: one TOML file each, named on the command line without its ending."""
