"""How time and memory of one fit grow: n, d, K_R and K_T doubled one at a time, up to sizes that people have.

    python benchmarks/scaling.py [--quick]

Synthetic classes with Gaussian spread; each point is a process of its own, so that peak memory is its own. CPU seconds,
and memory beyond what the two tasks themselves take. Set OMP_NUM_THREADS=1 to compare with other figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

BASE = {"n": 3125, "d": 256, "K_R": 125, "K_T": 125}
UP_TO = {"n": 50_000, "d": 2048, "K_R": 1000, "K_T": 1000}


def main() -> None:
    """Measure the base size, then double one number at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the base size and one doubling of each")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(**json.loads(options.one))))
        return
    print(f"{'':14}{'n':>8}{'d':>6}{'K_R':>6}{'K_T':>6}{'CPU s':>9}{'× base':>8}{'GB':>7}{'× data':>8}{'bound':>9}")
    base = report("base", BASE, None)
    for axis, limit in UP_TO.items():
        sizes = dict(BASE)
        while sizes[axis] * 2 <= limit * 1.01:
            sizes[axis] *= 2
            if axis == "K_T":  # classes are matched one to one; fewer reference classes is the axis K_R read backwards
                sizes["K_R"] = max(sizes["K_R"], sizes["K_T"])
            report(f"{axis} × {sizes[axis] // BASE[axis]}", sizes, base)
            if options.quick:
                break


def report(name: str, sizes: dict[str, int], base: dict[str, float] | None) -> dict[str, float]:
    """Measure in a process of its own and print a row."""
    command = [sys.executable, __file__, "--one", json.dumps(sizes)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ratio = found["cpu"] / base["cpu"] if base else 1.0
    print(
        f"{name:14}{sizes['n']:>8,}{sizes['d']:>6,}{sizes['K_R']:>6,}{sizes['K_T']:>6,}{found['cpu']:>9.2f}{ratio:>8.2f}"
        f"{found['gigabytes']:>7.2f}{found['copies']:>8.1f}{found['bound']:>9.3f}",
        flush=True,
    )
    return found


def measure(n: int, d: int, K_R: int, K_T: int) -> dict[str, float]:
    """Fit once on n reference and n target samples of d float32 features."""
    from transferability import Task, TaskRelatedness

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(K_R, d)).astype(np.float32)
    turn = np.eye(d, dtype=np.float32) + 0.2 * rng.normal(size=(d, d)).astype(np.float32) / np.sqrt(d)
    reference_labels, target_labels = np.arange(n) % K_R, np.arange(n) % K_T

    def draw(centres: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return centres[labels] + 2 * rng.normal(size=(n, d)).astype(np.float32)

    reference = Task(draw(centres, reference_labels), reference_labels, name="reference")
    target = Task(draw(centres[:K_T] @ turn, target_labels), target_labels, name="target")
    import ot  # noqa: F401  its import is not part of the fit

    data = (reference.features.nbytes + target.features.nbytes) / 1e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    started = time.process_time()
    result = TaskRelatedness(tau=0.2).fit(reference, target)
    seconds = time.process_time() - started
    extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6 - before
    return {"cpu": seconds, "gigabytes": extra, "copies": extra / data, "bound": result.bound}


if __name__ == "__main__":
    main()
