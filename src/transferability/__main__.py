"""`python -m transferability`: the command, under the interpreter that is named."""

from transferability.cli.app import main

if __name__ == "__main__":
    main()
