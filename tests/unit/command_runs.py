"""Running the command in this process, and class names that a terminal would obey."""

from typer.testing import CliRunner

from transferability.cli.app import app

HOSTILE = ["[bold red]a[/bold red]", "<script>alert(1)</script>", "naïve 類 \u202egnp \x1b[31m \x9b2J :rocket: \n"]


def run(*arguments: str, code: int = 0) -> tuple[str, str]:
    """Return what the command prints and says; a known error is raised as it is, for `main` to print."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr
