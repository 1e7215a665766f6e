"""The examples of a page, run as a reader would run them, and what they print.

Blocks of Python and of the shell run in the order of the page, in a folder of their own; Python blocks share their
names. The `text` block that follows one is what it prints. A block behind the comment ``<!-- not run: why -->`` is left
alone, and so is the README's ``<!-- test -->``.

`python docs/tools/examples.py docs/start.md …` runs pages and writes what their examples print into them; the tests run
the same examples and compare.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Example", "alike", "examples_of", "run_page", "update_page"]

_FENCE = re.compile(
    r"(?:^<!-- (?P<reason>not run: [^\n]*?|test) -->\n)?"
    r"^```(?P<language>[^\n]*)\n(?P<source>.*?)^```\n"
    r"(?:\n^```text\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_RUN = ("python", "sh")
_TOLERANCE = 0.05  # another processor rounds to another map of these small samples; more is a change to explain


class Example(NamedTuple):
    """A fenced block of a page."""

    language: str
    source: str
    line: int
    shown: str | None  # the output in the page
    place: tuple[int, int]  # of that output, in letters
    not_run: str | None  # why it is not run

    @property
    def runs(self) -> bool:
        """Whether it is to be run."""
        return self.language in _RUN and self.not_run is None


def examples_of(text: str) -> list[Example]:
    """Return the fenced blocks of a page."""
    return [
        Example(
            found["language"],
            found["source"],
            text.count("\n", 0, found.start("source")) + 1,
            found["output"],
            found.span("output"),
            found["reason"],
        )
        for found in _FENCE.finditer(text)
    ]


def run_page(text: str, folder: Path) -> list[tuple[Example, str]]:
    """Run the examples of a page in an empty folder; return each with what it printed."""
    names: dict[str, Any] = {"__name__": "page"}
    printed = []
    with contextlib.chdir(folder):
        for example in filter(lambda each: each.runs, examples_of(text)):
            try:
                output = _python(example, names) if example.language == "python" else _shell(example, folder)
            except Exception as error:
                error.add_note(f"in the example of line {example.line}:\n{example.source}")
                raise
            printed.append((example, "".join(f"{line.rstrip()}\n" for line in output.splitlines())))
    return printed


def update_page(path: Path) -> bool:
    """Write what the examples of a page print into it; return whether it changed."""
    text = path.read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        printed = run_page(text, Path(folder))
    new = text
    for example, output in reversed(printed):
        if example.shown is not None:
            start, end = example.place
            new = new[:start] + output + new[end:]
    path.write_text(new, "utf-8")
    return new != text


def alike(shown: str, printed: str) -> bool:
    """Whether both say the same: words equal, numbers close, seconds whatever they are."""
    one, other = (_without_seconds(text) for text in (shown, printed))
    if [_NUMBER.sub("#", line).split() for line in one] != [_NUMBER.sub("#", line).split() for line in other]:
        return False
    pairs = zip(_NUMBER.findall("\n".join(one)), _NUMBER.findall("\n".join(other)), strict=True)
    return all(abs(float(a) - float(b)) <= _TOLERANCE * max(1.0, abs(float(a))) for a, b in pairs)


_OF_THE_MACHINE = ("items/s", "front")
"""Columns in the middle of a ranking that differ from machine to machine."""


def _without_seconds(text: str) -> list[str]:
    """Cut off the last column of a table where it holds seconds, and the speed of encoders before it."""
    lines, cuts, in_table = [], list[tuple[int, int]](), False
    for line in text.strip().splitlines():
        if line.split()[-1:] == ["seconds"]:
            in_table, cuts = True, _cuts(line)
        elif in_table and not line.strip():
            in_table = False
        if in_table:
            line = line.rsplit(maxsplit=1)[0]
            for start, end in reversed(cuts):
                line = line[:start] + line[end:]
        lines.append(line)
    return lines


def _cuts(heading: str) -> list[tuple[int, int]]:
    """Return from where to where the columns of the machine reach, in letters; numbers end where headings end."""
    found = list(re.finditer(r"\S+(?: \S+)*", heading))
    pairs = itertools.pairwise(found)
    return [(before.end(), each.end()) for before, each in pairs if each[0] in _OF_THE_MACHINE]


def _python(example: Example, names: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        # `exec` is what this is for: the page's own source, the same that a reader pastes.
        exec(compile(example.source, f"<example of line {example.line}>", "exec"), names)
    return printed.getvalue()


def _shell(example: Example, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = os.environ | {
        "PATH": path,
        "COLUMNS": "100",
        "OMP_NUM_THREADS": "1",
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFERABILITY_CACHE": str(folder / ".cache"),
    }
    command = ["bash", "-euo", "pipefail", "-c", example.source]
    done = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        message = f"the command ended with {done.returncode}:\n{done.stdout}"
        raise RuntimeError(message)
    return done.stdout


def _main() -> None:
    for name in sys.argv[1:]:
        print(f"{name}: {'changed' if update_page(Path(name)) else 'as it was'}")


if __name__ == "__main__":
    _main()
