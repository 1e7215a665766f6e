"""Running the command in this process: encoders of pictures, and class names that a terminal would obey."""

from typer.testing import CliRunner

from transferability.cli.app import app

TWO_ENCODERS = """
import numpy as np
def rows(items):
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=0)[:8] for each in items])
def pixels(items):
    return np.stack([np.asarray(each.convert("L"), dtype=float).ravel() for each in items])
rows.version = pixels.version = "1"
"""
HOSTILE = ["[bold red]a[/bold red]", "<script>alert(1)</script>", "naïve 類 \u202egnp \x1b[31m \x9b2J :rocket: \n"]


def run(*arguments: str, code: int = 0) -> tuple[str, str]:
    """Return what the command prints and says; a known error is raised as it is, for `main` to print."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr
