"""The command as its users call it, without a new interpreter for each call: importing everything takes seconds."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from transferability.cli.app import main
from transferability.errors import TransferabilityError

Command = Callable[..., subprocess.CompletedProcess[str]]


def _call(place: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    before = set(sys.modules)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(place))
        stack.enter_context(mock.patch.dict(os.environ, {"TRANSFERABILITY_CACHE": str(place / "cache")}))
        stack.enter_context(mock.patch.object(sys, "argv", ["transferability", *arguments]))
        stack.enter_context(mock.patch.object(sys, "path", ["", *sys.path]))  # as `python -c` has it
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except TransferabilityError:  # with --debug: as the interpreter shows it
            traceback.print_exc()
            code = 1
    for name in set(sys.modules) - before:  # encoders of this folder; another one's may have the same name
        if str(place) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def command() -> Command:
    """Return a function that runs `transferability ARGUMENTS` in a folder and checks its exit status."""

    def run(place: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = _call(place, arguments)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr or "--debug" in arguments
        return done

    return run
