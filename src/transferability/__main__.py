"""`python -m transferability`: the command, where its script is not on the path."""

from transferability.cli.app import main

if __name__ == "__main__":
    main()
