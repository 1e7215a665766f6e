"""What the command costs before it computes anything: CPU seconds and peak memory of processes.

    python benchmarks/imports.py [--turns 5]

Each line is the best of several turns of a fresh process. The fit itself is not among them: `rank` ends where its first
fit would begin, on feature files of 2,000 rows. Ratios are to a process that imports NumPy and nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

RANK = """
import os, sys
from transferability.cli.app import main
from transferability.relatedness.estimator import TaskRelatedness
TaskRelatedness.fit = lambda *arguments, **options: os._exit(0)
sys.argv = "transferability rank --target features:target.npz --reference features:reference.npz".split()
sys.argv += ["--encoder", "features:{data}.npz"]
main()
"""
PROCESSES = {
    "python": ["-c", ""],
    "import numpy": ["-c", "import numpy"],
    "import scipy.optimize": ["-c", "import scipy.optimize"],
    "import transferability": ["-c", "import transferability"],
    "from transferability import rank": ["-c", "from transferability import rank"],
    "transferability --help": ["-m", "transferability", "--help"],
    "transferability rank, to its first fit": ["-c", RANK],
}


def measure(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Return CPU seconds and peak megabytes of a process of this interpreter."""
    null = os.open(os.devnull, os.O_WRONLY)
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.execv(sys.executable, [sys.executable, *arguments])
    os.close(null)
    _, status, usage = os.wait4(child, 0)
    if status:
        message = f"{arguments} ended with status {status}."
        raise RuntimeError(message)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3


def processes(turns: int, wanted: Iterable[str] = PROCESSES) -> dict[str, tuple[float, float]]:
    """Return CPU seconds and peak megabytes of processes, the best of some turns."""
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for role in ("target", "reference"):
            labels = np.arange(2_000) % 10
            features = rng.normal(size=(2_000, 256)).astype(np.float32)
            np.savez(folder / f"{role}.npz", features=features, labels=labels)
        return {what: min(measure(PROCESSES[what], folder) for _ in range(turns)) for what in wanted}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    found = processes(parser.parse_args().turns)
    base = found["import numpy"][0]
    print(f"{'process':<42}{'CPU s':>8}{'× NumPy':>9}{'MB':>8}")
    for what, (seconds, megabytes) in found.items():
        print(f"{what:<42}{seconds:>8.2f}{seconds / base:>9.1f}{megabytes:>8.0f}")


if __name__ == "__main__":
    main()
