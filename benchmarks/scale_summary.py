"""What ranking and extraction must reach at scale, beside what they reach here: one table in one run.

    OMP_NUM_THREADS=1 python benchmarks/scale_summary.py [--case NAME …] [--out FILE] [--quick]

Cases: ``race`` (100 encoders on feature files with three references, as `rank` does it by itself), ``race-scores`` (the
same with H-score and LogME), ``rank`` (ten of these encoders, each on all rows, from
which 100 are reckoned), ``rows``,
``classes-100``, ``classes-1000`` (fits), ``start`` (`rank` to its first fit), ``help``, ``limit`` (items encoded by
`extract --limit 140` after `--limit 350`), ``demo`` (its folder) and ``gpu`` (extraction against the model and the
decoders alone, runs of a minute). The figures come from the other benchmarks of this folder, each case in a process of
its own; `gpu` is left out where torch finds none. "share" is what is measured as a share of what is asked. `--quick`
tries the program on small data, whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import imports
import scaling

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "transferability", "--quiet"]
COUNTING = """
import numpy as np

def pixels(pictures):
    with open("encoded", "a") as file:
        file.write(len(pictures) * ".")
    return np.stack([np.asarray(each.convert("L").resize((8, 8)), dtype=float).ravel() for each in pictures])

pixels.version = "1"
"""
_SMALL: dict[str, object] = {"n": 300, "d": 16}
_N_ENCODERS = 100


class Figure(NamedTuple):
    """A figure, and what is asked of it: at most `asked`, or at least."""

    what: str
    asked: float
    measured: float
    unit: str
    at_least: bool = False

    @property
    def is_reached(self) -> bool:
        """Whether it is as asked."""
        return self.measured >= self.asked if self.at_least else self.measured <= self.asked


class Options(NamedTuple):
    """How much is measured."""

    quick: bool
    encoders: int


def sizes_of(case: str, options: Options) -> dict[str, object]:
    """Return the sizes of a case of `scaling.py`."""
    sizes = scaling.CASES[case]
    if options.quick:
        sizes = sizes | _SMALL | {"classes": [min(each, 5) for each in sizes["classes"]]}  # type: ignore[attr-defined]
    return sizes | ({"encoders": options.encoders} if "scores" in sizes else {})


def ranking(case: str, seconds: float) -> Callable[[Options], Iterator[Figure]]:
    """Return what measures a ranking of a hundred encoders."""

    def measure(options: Options) -> Iterator[Figure]:
        found = scaling.in_own_process(sizes_of(case, options))
        yield Figure(f"{_N_ENCODERS} encoders", seconds, _N_ENCODERS * found["seconds"], "s")
        yield Figure("CPU of an encoder", seconds * 2 / _N_ENCODERS, found["cpu"], "s")
        yield Figure("peak memory", 1.5, found["gigabytes"], "GB")

    return measure


def fit(case: str, seconds: float) -> Callable[[Options], Iterator[Figure]]:
    """Return what measures a fit."""

    def measure(options: Options) -> Iterator[Figure]:
        yield Figure("CPU of a fit", seconds, scaling.in_own_process(sizes_of(case, options))["cpu"], "s")

    return measure


def start(options: Options) -> Iterator[Figure]:
    """Measure `rank` on feature files until it would fit."""
    what = "transferability rank, to its first fit"
    seconds, megabytes = imports.processes(1 if options.quick else 5, [what])[what]
    yield Figure("CPU before the first fit", 1.0, seconds, "s")
    yield Figure("peak memory", 250, megabytes, "MB")


def help_of_command(options: Options) -> Iterator[Figure]:
    """Measure the help."""
    what = "transferability --help"
    yield Figure("CPU of --help", 0.4, imports.processes(1 if options.quick else 5, [what])[what][0], "s")


def limit(_: Options) -> Iterator[Figure]:
    """Count the items that a smaller limit encodes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "counting.py").write_text(COUNTING)
        path = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "TRANSFERABILITY_CACHE": str(place / "cache"), "PYTHONPATH": path}
        counts = []
        for rows in ("350", "140"):
            arguments = ["extract", "--encoder", "python:counting:pixels", "--data", "packaged:digits", "--limit", rows]
            run([*COMMAND, *arguments, "--out", f"{rows}.safetensors"], folder, environment)
            counts.append((place / "encoded").stat().st_size)
    assert counts[0] >= 350
    yield Figure("items encoded at 140 after 350", 0, counts[1] - counts[0], "items")


def demo(options: Options) -> Iterator[Figure]:
    """Measure the folder of the demo; to try this program, that of two functions."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "counting.py").write_text(COUNTING)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}
        small = ["rank", "packaged:digits", "--encoder", "python:counting:pixels", "--limit", "60", "--no-cache"]
        run([*COMMAND, *(small if options.quick else ["demo"]), "--out", "results"], folder, environment)
        size = sum(path.stat().st_size for path in (Path(folder) / "results").rglob("*") if path.is_file())
    yield Figure("folder of the demo", 2, size / 1e6, "MB")


def gpu(options: Options) -> Iterator[Figure]:
    """Measure extraction on a GPU; on the CPU with tiny models to try this program."""
    if options.quick:
        how = ["--device", "cpu", "--quick"]
    elif run([sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]).strip() == "True":
        how = ["--seconds", "60", "--within", "900"]
    else:
        return
    for line in run([sys.executable, str(HERE / "gpu_extraction.py"), *how, "arrays", "jpegs"]).splitlines():
        found = json.loads(line)
        if "share_in_all" in found:
            model = f"{found['encoder'].partition('@')[0]}, {found['precision']}" if "encoder" in found else "JPEGs"
            asked = 0.85 if "encoder" in found else 0.9
            for key, when in (("share_in_all", "in all"), ("share_later", "later")):
                yield Figure(f"{model}, {when}", asked, found[key], "of the bare rate", at_least=True)


def run(command: list[str], folder: str | None = None, environment: dict[str, str] | None = None) -> str:
    """Return what a command prints; what it says beside that is shown if it fails."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}"
        raise RuntimeError(message)
    return done.stdout


CASES: dict[str, Callable[[Options], Iterator[Figure]]] = {
    "race": ranking("race", 60),
    "race-scores": ranking("race-scores", 90),
    "rank": ranking("rank", 60),
    "rows": fit("rows", 3),
    "classes-100": fit("classes-100", 2),
    "classes-1000": fit("classes-1000", 20),
    "start": start,
    "help": help_of_command,
    "limit": limit,
    "demo": demo,
    "gpu": gpu,
}


def main() -> None:
    """Print each figure as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--out", type=Path, help="file that each figure is added to, as a line of JSON")
    parser.add_argument("--quick", action="store_true", help="small data, to try this program")
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))
    print(f"{'case':14}{'figure':44}{'asked':>10}{'measured':>12}{'share':>8}  reached")
    for case in asked.case:
        n_encoders = (10 if asked.quick else _N_ENCODERS) if case.startswith("race") else 2 if asked.quick else 10
        nothing = True
        for figure in CASES[case](Options(asked.quick, n_encoders)):
            nothing = False
            share = f"{figure.measured / figure.asked:.2f}" if figure.asked else "–"
            sign = "≥" if figure.at_least else "≤"
            print(
                f"{case:14}{figure.what:44}{sign:>2}{figure.asked:>8g}{figure.measured:>12.3g}{share:>8}  "
                f"{'yes' if figure.is_reached else 'NO'} ({figure.unit})",
                flush=True,
            )
            if asked.out is not None:
                with asked.out.open("a") as file:
                    file.write(json.dumps({"case": case, **figure._asdict(), "is_reached": figure.is_reached}) + "\n")
        if nothing:
            print(f"{case:14}not measured: torch finds no GPU here", flush=True)


if __name__ == "__main__":
    main()
