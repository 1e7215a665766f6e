"""What fits cost as data grow: CPU seconds and peak memory, each point a process of its own.

    python benchmarks/scaling.py [--case NAME …] [--encoders N]

Cases: ``fit`` (three references of 10, 20 and 100 classes), ``rows``, ``classes-100``, ``classes-1000``, ``rank`` (N
encoders on feature files, with three references), ``rank-scores`` (the same with H-score and LogME), ``race`` and
``race-scores`` (10 N encoders in a race for the first place; 164 MB of temporary files for each); all of them by
default. Synthetic classes with Gaussian spread whose principal axes fall off like those of image encoders. The encoders
of a race differ in the share of the variance that is between classes: drawn from a normal distribution of mean .30 and
deviation .09, where shares of .10, .30 and .45 give accuracies of .29, .57 and .74. CPU seconds are of the fit, or of
the ranking per encoder, features in float32; memory is the peak of the process, of a ranking with its worker processes
(pages that they share once). "× product" divides by the
seconds of one product XᵀX of the target's features on the same machine at the same time. Set OMP_NUM_THREADS=1 to
compare with other figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np

CASES: dict[str, dict[str, object]] = {
    "fit": {"n": 10_000, "d": 1_024, "classes": [10, 10, 20, 100]},
    "rows": {"n": 100_000, "d": 256, "classes": [10, 10]},
    "classes-100": {"n": 10_000, "d": 256, "classes": [100, 100]},
    "classes-1000": {"n": 10_000, "d": 256, "classes": [1_000, 1_000]},
    "rank": {"n": 10_000, "d": 1_024, "classes": [10, 10, 20, 100], "scores": []},
    "rank-scores": {"n": 10_000, "d": 1_024, "classes": [10, 10, 20, 100], "scores": ["h_score", "logme"]},
    "race": {"n": 10_000, "d": 1_024, "classes": [10, 10, 20, 100], "scores": [], "race": True},
    "race-scores": {
        "n": 10_000, "d": 1_024, "classes": [10, 10, 20, 100], "scores": ["h_score", "logme"], "race": True
    },
}  # fmt: skip
_BETWEEN = 0.3  # share of the variance that is between classes
_BETWEEN_DEVIATION = 0.09  # over the encoders of a race
_DECAY = 0.65  # of the deviation along principal axes; classes differ mostly along the first
_TEST = 0.3
_WITH_WORKERS = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


def main() -> None:
    """Measure the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--encoders", type=int, default=10, help="of the rankings; the figures are for one of them")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(**json.loads(options.one))))
        return
    print(f"{'':14}{'n':>9}{'d':>7}  {'classes':20}{'CPU s':>8}{'× product':>11}{'seconds':>9}{'GB':>6}{'bound':>8}")
    for name in options.case:
        sizes = CASES[name]
        if "scores" in sizes:
            sizes = sizes | {"encoders": options.encoders * (10 if "race" in sizes else 1)}
        found = in_own_process(sizes)
        classes = ", ".join(map(str, sizes["classes"]))  # type: ignore[arg-type]
        print(
            f"{name:14}{sizes['n']:>9,}{sizes['d']:>7,}  {classes:20}{found['cpu']:>8.2f}{found['ratio']:>11.1f}"
            f"{found['seconds']:>9.2f}{found['gigabytes']:>6.2f}{found['bound']:>8.3f}",
            flush=True,
        )


def in_own_process(sizes: dict[str, object]) -> dict[str, float]:
    """Return what `measure` finds in a new process."""
    command = [sys.executable, __file__, "--one", json.dumps(sizes)]
    done = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(done.splitlines()[-1])
    return found


def draw(
    n: int, d: int, n_classes: int, seed: int, encoder: int = 0, between: float = _BETWEEN
) -> tuple[np.ndarray, np.ndarray]:
    """Draw features in float32 and labels of one task, as one encoder sees it."""
    rng = np.random.default_rng([seed, encoder])
    spread = (np.arange(d) + 1.0) ** -_DECAY
    spread /= np.sqrt(np.mean(spread**2))
    of_classes = spread**2 / np.sqrt(np.mean(spread**4))
    labels = np.arange(n) % n_classes
    centres = np.sqrt(between) * of_classes * np.random.default_rng(seed).normal(size=(n_classes, d))
    latent = centres[labels] + np.sqrt(1 - between) * spread * rng.normal(size=(n, d))
    turn = np.linalg.qr(np.random.default_rng(encoder).normal(size=(d, d)))[0]
    return latent.astype(np.float32) @ turn.astype(np.float32), labels


def measure(
    n: int, d: int, classes: list[int], scores: list[str] | None = None, encoders: int = 0, race: bool = False
) -> dict[str, float]:
    """Fit once, or rank, and return what it took: for a ranking per encoder."""
    x = draw(n, d, classes[0], 0)[0]
    x.T @ x
    started = time.process_time()
    x.T @ x
    product = time.process_time() - started
    took = fit(n, d, classes) if scores is None else rank_files(n, d, classes, scores, encoders, race=race)
    return (
        {"gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}
        | took
        | {"ratio": took["cpu"] / product}
    )


class PeakMemory(threading.Thread):
    """Looks twice a second how much memory this process and its workers have, pages that they share once.

    It needs Linux, where a process tells its proportional share (Pss) of the pages that it has in common with others.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.gigabytes = 0.0
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until `end`."""
        own = os.getpid()
        while not self._ended.wait(0.5):
            started = [path.read_text().split() for path in Path(f"/proc/{own}/task").glob("*/children")]
            kilobytes = sum(map(self._pss, [own, *chain.from_iterable(started)]))
            self.gigabytes = max(self.gigabytes, kilobytes / 1e6)

    def end(self) -> float:
        """Stop looking, and return the peak in gigabytes."""
        self._ended.set()
        self.join()
        return self.gigabytes

    @staticmethod
    def _pss(process: int | str) -> int:
        with suppress(OSError, StopIteration):  # it has ended
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("Pss:")).split()[1])
        return 0


def cpu_seconds() -> float:
    """Return CPU seconds of this process, and of those that it has started and that have ended."""
    used = [resource.getrusage(who) for who in _WITH_WORKERS]
    return sum(each.ru_utime + each.ru_stime for each in used)


def fit(n: int, d: int, classes: list[int]) -> dict[str, float]:
    """Relate a target to its references, seven rows in ten to fit on and three to measure on."""
    from transferability import Task, TaskRelatedness

    parts = []
    for k, n_classes in enumerate(classes):
        features, labels = draw(n, d, n_classes, k)
        rank = np.arange(n) // n_classes  # within a class
        test = rank % 10 >= 10 * (1 - _TEST)
        test[labels == labels[test].min()] &= rank[labels == labels[test].min()] > 0
        parts.append([Task(features[rows], labels[rows], name=f"{k}") for rows in (~test, test)])
    (target, target_test), *references = parts
    small = Task(np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 2)
    TaskRelatedness().fit(small, small)  # imports are not part of the fit
    wall, started = time.perf_counter(), time.process_time()
    result = TaskRelatedness().fit(
        [each for each, _ in references], target, [test for _, test in references], target_test
    )
    return {
        "cpu": time.process_time() - started,
        "seconds": time.perf_counter() - wall,
        "bound": result.bound,
    }


def rank_files(n: int, d: int, classes: list[int], scores: list[str], encoders: int, *, race: bool) -> dict[str, float]:
    """Rank encoders whose features lie in files."""
    from transferability.pipeline import rank

    drawn = np.random.default_rng(0).normal(_BETWEEN, _BETWEEN_DEVIATION if race else 0.0, size=encoders)
    shares = np.clip(drawn, 0.05, 0.7)
    names = ["target", *(f"reference{k}" for k in range(1, len(classes)))]
    with tempfile.TemporaryDirectory() as folder:
        for encoder in range(encoders):
            place = Path(folder) / f"encoder{encoder}"
            place.mkdir()
            for k, (name, n_classes) in enumerate(zip(names, classes, strict=True)):
                features, labels = draw(n, d, n_classes, k, encoder, float(shares[encoder]))
                np.savez(place / f"{name}.npz", features=features, labels=labels)
        data = {}
        for k, (name, n_classes) in enumerate(zip(names, classes, strict=True)):
            data[name] = str(Path(folder) / f"{name}.npz")
            images = (np.arange(n, dtype=np.uint32) + k * n).view(np.uint8).reshape(n, 2, 2)  # all different
            np.savez(data[name], images=images, labels=np.arange(n) % n_classes)
        target, *references = (f"npz:{path}" for path in data.values())
        found = [f"features:{folder}/encoder{encoder}/{{data}}.npz" for encoder in range(encoders)]
        memory = PeakMemory()
        memory.start()
        wall, started = time.perf_counter(), cpu_seconds()
        ranking = rank(target, references, found, scores=scores, race=1 if race else None)
        cpu, seconds = cpu_seconds() - started, time.perf_counter() - wall
        gigabytes = memory.end()
    bound = ranking.entries[0].relatedness.bound
    return {"cpu": cpu / encoders, "seconds": seconds / encoders, "bound": bound, "gigabytes": gigabytes}


if __name__ == "__main__":
    main()
