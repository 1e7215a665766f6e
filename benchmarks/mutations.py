"""How many small faults of the mathematics the tests catch: a mutation run.

    python benchmarks/mutations.py                      # 150 mutants of the four packages, drawn with seed 0
    python benchmarks/mutations.py --only transport --sample 40 --seed 3
    python benchmarks/mutations.py --calls calls.json   # keep what each test calls, and use it again

A mutant is a module with one fault in a function: another comparison, operator, constant, condition or reduction. Tests
run once to learn which functions each of them calls. A mutant runs the tests that call its function, those of its own
module first, until one fails: it is killed. One that no test kills is printed. It is either a hole in the tests or as
good as the original (another order of ties, another size of blocks); reading it tells which. Those that were found as
good are listed, with the reason, in `equivalent_mutants.toml` and counted apart.

Every mutant runs in a process of its own, forked from one that has loaded the libraries. POSIX only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.machinery
import importlib.util
import itertools
import json
import os
import random
import re
import resource
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies  # noqa: F401 - loaded once, for all mutants
import ot  # noqa: F401
import pytest
import scipy.optimize
import scipy.stats  # noqa: F401
from _mutants import ROOT, SOURCE, Site, broken, sites_of

PACKAGES = ("ranking", "relatedness", "scores", "transport")
TESTS = (
    *(f"tests/unit/{name}" for name in PACKAGES),
    *("tests/golden", "tests/property", "tests/unit/test_pipeline.py", "tests/unit/test_pipeline_references.py"),
    "tests/unit/report/test_visual_summary.py",
)
EQUIVALENT = ROOT / "benchmarks" / "equivalent_mutants.toml"
BUDGET = 60.0  # CPU seconds of tests that one mutant runs, as they were measured on the original
QUIET = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
Tests = dict[str, tuple[float, list[str]]]


class _Recorder:
    """A pytest plugin: what each test costs and which functions it calls, in fixtures of a wider scope too."""

    def __init__(self) -> None:
        self.tests: dict[str, tuple[float, list[str]]] = {}
        self._called: set[str] = set()
        self._shared: dict[str, set[str]] = {}

    def _trace(self, frame: Any, _event: str, _argument: Any) -> None:
        if frame.f_code.co_filename.startswith(str(SOURCE)):
            self._called.add(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        before, self._called = self._called, set()
        value = yield
        if fixturedef.scope != "function":
            self._shared[fixturedef.argname] = self._called
        self._called |= before
        return value

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        self._called, started = set(), time.process_time()
        sys.settrace(self._trace)
        done = yield
        sys.settrace(None)
        shared = set[str]().union(*(self._shared.get(name, ()) for name in item.fixturenames))
        self.tests[item.nodeid] = time.process_time() - started, sorted(self._called | shared)
        return done


class _Importer(importlib.machinery.SourceFileLoader):
    """Loads one module with its fault."""

    def __init__(self, path: Path, tree: Any) -> None:
        super().__init__(".".join(path.relative_to(SOURCE.parent).with_suffix("").parts), str(path))
        self._tree = tree

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, _: str) -> Any:
        return compile(self._tree, self.path, "exec")


def in_a_fork(run: Callable[[], int], seconds: int) -> int:
    """Return the exit code of a function in a process of its own, quiet; below 0 where a signal has ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    with contextlib.suppress(BaseException):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1), os.dup2(nothing, 2)
        os._exit(run())
    os._exit(99)


def record() -> Tests:
    """Run the tests; return what each costs and calls."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tests.json")

        def run() -> int:
            code = int(pytest.main([*QUIET, *TESTS], plugins=[recorder := _Recorder()]))
            path.write_text(json.dumps(recorder.tests), "utf-8")
            return code

        if in_a_fork(run, 7200) != 0:
            raise SystemExit("The tests must pass before they can catch faults: run them.")
        return dict(json.loads(path.read_text("utf-8")))


def tests_for(site: Site, tests: Tests) -> list[str]:
    """Return the tests that call a function, those of its module and package first, then by cost."""
    called, module = f"{site.path}:{site.function}", f"test_{site.path.stem.strip('_')}.py"
    calling = [name for name, (_, functions) in tests.items() if called in functions]
    calling.sort(key=lambda name: (module not in name, f"/{site.path.parent.name}/" not in name, tests[name][0]))
    spent = itertools.accumulate(tests[name][0] for name in calling)
    return [name for name, seconds in zip(calling, spent, strict=True) if seconds < BUDGET]


def survives(site: Site, names: list[str]) -> bool:
    """Tell whether all these tests pass with the fault."""

    def run() -> int:
        sys.meta_path.insert(0, _Importer(site.path, broken(site)[0]))
        return int(pytest.main([*QUIET, "-x", *names]))

    return not names or in_a_fork(run, int(3 * BUDGET)) == 0


def described(site: Site) -> str:
    """Return what a fault is; where the function has several places that read alike, with the place's number."""
    fault = broken(site)[1]
    alike = [
        each.number
        for each in sites_of(site.path)
        if each.function == site.function and without_line(broken(each)[1]) == without_line(fault)
    ]
    return fault if len(alike) == 1 else f"{fault} (place {sorted(alike).index(site.number) + 1} of {len(alike)})"


def equivalents() -> set[str]:
    """Return the faults that are known to be as good as the original."""
    return {each["fault"] for each in tomllib.loads(EQUIVALENT.read_text("utf-8"))["mutant"]}


def without_line(fault: str) -> str:
    """Return a fault as the list has it: lines move."""
    return re.sub(r"\.py:\d+ in ", ".py in ", fault, count=1)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=PACKAGES, nargs="+", default=PACKAGES)
    parser.add_argument("--sample", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calls", type=Path, help="what each test calls: read there, or recorded and written")
    options = parser.parse_args()
    os.chdir(ROOT)
    tests = json.loads(options.calls.read_text("utf-8")) if options.calls and options.calls.exists() else record()
    if options.calls:
        options.calls.write_text(json.dumps(tests), "utf-8")
    sites = [each for name in options.only for path in sorted((SOURCE / name).rglob("*.py")) for each in sites_of(path)]
    chosen = random.Random(options.seed).sample(sites, min(options.sample, len(sites)))
    alive, total, same, known = Counter[str](), Counter[str](), Counter[str](), equivalents()
    for number, site in enumerate(chosen, 1):
        names, package = tests_for(site, tests), site.path.relative_to(SOURCE).parts[0]
        total[package] += 1
        if survives(site, names):
            alive[package] += 1
            fault = described(site)
            listed = without_line(fault) in known
            same[package] += listed
            verdict = "as good as the original" if listed else f"survives {len(names)} tests"
            print(f"{number}: {verdict}: {fault}", flush=True)
    for package, count in sorted(total.items()):
        print(f"{package}: {count - alive[package]} of {count} killed, {same[package]} as good as the original")
    killed, different = total.total() - alive.total(), total.total() - same.total()
    print(f"{killed} of {total.total()} killed, {killed / total.total():.0%}; there are {len(sites):,} places")
    print(f"{killed} of the {different} that differ from the original, {killed / max(different, 1):.0%}")


if __name__ == "__main__":
    main()
