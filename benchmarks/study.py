"""How much of a study on cached features is anything but the numerical kernels?

    python benchmarks/study.py [--encoders 30] [--rows 1000] [--dimensions 512]

Makes feature files of synthetic encoders (clusters of ten classes, by and by more noise), three targets and two
references, runs the study, and runs it again with everything there. Kernels are `TaskRelatedness.fit` and the scores;
the rest is reading, splitting, checking, describing for the report, keeping in SQLite. CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from transferability.features import write_features
from transferability.pipeline import Settings, measure
from transferability.relatedness.estimator import TaskRelatedness
from transferability.study import Study, run_study

TARGETS, REFERENCES = ("a", "b", "c"), ("d", "e")


class Clock:
    """Adds up the CPU seconds of the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function):
        """Return the function, timed."""

        def timed(*arguments, **options):
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.process_time() - start

        return timed


def main() -> None:
    """Make the files, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", type=int, default=30)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=512)
    options = parser.parse_args()
    clock = Clock()
    TaskRelatedness.fit = clock.wrap(TaskRelatedness.fit)
    measure.compute_many = clock.wrap(measure.compute_many)
    with tempfile.TemporaryDirectory() as place, threadpool_limits(1):
        folder = Path(place)
        make_files(folder, options)
        study = Study(
            encoders=tuple(f"features:{folder}/{number}/{{data}}.npz" for number in range(options.encoders)),
            references=tuple(f"npz:{folder}/{name}.npz" for name in REFERENCES),
            targets=tuple(f"npz:{folder}/{name}.npz" for name in TARGETS),
            scores=("logme", "h_score", "leep"),
            results=folder / "results.sqlite",
            settings=Settings(),
            relatedness=TaskRelatedness(tau="auto"),
        )
        for what in ("first run", "second run, everything there"):
            clock.seconds, start = 0.0, time.process_time()
            results = run_study(study)
            total = time.process_time() - start
            assert not any(each.failed for each in results.values())
            share = (
                f", {100 * (total - clock.seconds) / total:.1f} % of it outside the kernels" if clock.seconds else ""
            )
            print(f"{what}: {len(results)} cells, {total:.2f} s{share}", flush=True)


def make_files(folder: Path, options: argparse.Namespace) -> None:
    """Write a file for each encoder and data set, and the data sets themselves."""
    rng = np.random.default_rng(0)
    labels = np.arange(options.rows) % 10
    for name in (*TARGETS, *REFERENCES):
        np.savez(folder / f"{name}.npz", x=rng.integers(0, 255, (options.rows, 4, 4), dtype=np.uint8), y=labels)
    for number in range(options.encoders):
        (folder / str(number)).mkdir()
        centres = rng.normal(size=(10, options.dimensions))
        for name in (*TARGETS, *REFERENCES):
            noise = rng.normal(size=(options.rows, options.dimensions)) * (1 + number / 10)
            shifted = centres + 0.3 * rng.normal(size=centres.shape)
            write_features(folder / str(number) / f"{name}.npz", (shifted[labels] + noise).astype(np.float32), labels)


if __name__ == "__main__":
    main()
