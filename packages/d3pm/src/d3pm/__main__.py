"""`python -m d3pm`."""

from d3pm.cli import main

main()
