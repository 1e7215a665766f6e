"""The scheduler of a study on a cluster, through Ray itself, with encoders that only pretend.

    OMP_NUM_THREADS=1 python benchmarks/cluster.py [--encoders 1000] [--targets 10] [--actors 4] [--losses 10]

Every fake encoder takes a drawn time to load and to compute each cell (log-normal, so that some take ten times the
median), some fail to load, some fail on a cell, and some kill the process that computes them, at moments drawn
beforehand. All actors run on this machine and sleep in place of computing, so that more of them fit than there are
processors; what is real is Ray, the queue, the losses and the results that come back. Printed: cells per second, how
long the actors were busy against how long they were there, CPU time of the driver per cell, and that every cell is
there once, with the result or the failure that was drawn for it.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferability.errors import EncoderError
from transferability.pipeline.cluster import spread
from transferability.ranking.store import ResultStore

SECONDS = 0.02  # median of a cell
LOADING = 0.05


@dataclass(frozen=True)
class Fake:
    """An encoder that sleeps."""

    number: int
    seconds: tuple[float, ...]  # of each cell
    loading: float
    fails_to_load: bool
    fails_on: int  # cell, or -1
    kills_on: int  # cell, or -1; the first time only


@dataclass(frozen=True)
class Work:
    """What an actor does with fakes; a file remembers who has killed already."""

    folder: str

    def open(self, fake: Fake) -> int:
        """Load it."""
        time.sleep(fake.loading)
        if fake.fails_to_load:
            message = f"fake {fake.number} cannot be loaded."
            raise EncoderError(message)
        return len(fake.seconds)

    def run(self, fake: Fake, cell: int) -> float:
        """Compute a cell."""
        time.sleep(fake.seconds[cell])
        killed = Path(self.folder) / str(fake.number)
        if cell == fake.kills_on and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if cell == fake.fails_on:
            message = f"fake {fake.number} fails on cell {cell}."
            raise EncoderError(message)
        return fake.number + cell / 1000


def draw(n_encoders: int, n_targets: int, n_losses: int, seed: int = 0) -> list[Fake]:
    """Return fakes with drawn times and failures."""
    rng = np.random.default_rng(seed)
    killers = set(rng.choice(n_encoders, n_losses, replace=False).tolist())
    fakes = []
    for number in range(n_encoders):
        seconds = tuple((SECONDS * rng.lognormal(0, 0.8, n_targets)).tolist())
        fails_to_load = bool(rng.random() < 0.02) and number not in killers
        fails_on = int(rng.integers(n_targets)) if rng.random() < 0.02 else -1
        kills_on = int(rng.integers(n_targets)) if number in killers else -1
        fakes.append(Fake(number, seconds, LOADING * float(rng.lognormal(0, 0.8)), fails_to_load, fails_on, kills_on))
    return fakes


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", type=int, default=1000)
    parser.add_argument("--targets", type=int, default=10)
    parser.add_argument("--actors", type=int, default=4)
    parser.add_argument("--losses", type=int, default=10)
    return parser.parse_args()


def main() -> None:
    """Run and check."""
    options = read_options()
    fakes = draw(options.encoders, options.targets, options.losses)
    import ray

    ray.init(
        num_cpus=options.actors,
        include_dashboard=False,
        object_store_memory=100_000_000,
        log_to_driver=False,
        logging_level="error",
    )
    counts: Counter[str] = Counter()
    wrong = 0
    started, own = time.perf_counter(), time.process_time()
    first = 0.0
    with tempfile.TemporaryDirectory() as folder:
        store = ResultStore(Path(folder) / "results.sqlite")
        for found in spread(
            Work(folder), fakes, lambda _, n_cells: range(n_cells), on_gpu=False, actors=options.actors
        ):
            first = first or time.perf_counter() - started
            fake = fakes[found.group]
            if found.task is None:
                counts["encoders that failed to load"] += 1
                wrong += not fake.fails_to_load
                continue
            counts["cells"] += 1
            if found.error is not None:
                counts["cells that failed"] += 1
                wrong += found.task != fake.fails_on
            else:
                wrong += found.result != fake.number + found.task / 1000
            store.put(
                f"{found.group}/{found.task}",
                "fake",
                str(found.group),
                str(found.task),
                {},
                0.0,
                failed=bool(found.error),
            )
        kills = len([path for path in Path(folder).iterdir() if path.name.isdecimal()])
        rows = len(store.results("fake"))
    wall, cpu = time.perf_counter() - started, time.process_time() - own
    ray.shutdown()
    loaded = [fake for fake in fakes if not fake.fails_to_load]
    busy = sum(fake.loading for fake in fakes) + sum(sum(fake.seconds) for fake in loaded)
    expected = len(loaded) * options.targets
    print(f"{options.encoders:,} encoders × {options.targets} targets, {options.actors} actors, {kills} of them killed")
    print(f"  {dict(counts)}; {rows:,} rows in the file of {expected:,} expected; {wrong} wrong")
    print(f"  {wall:.1f} s ({first:.1f} s to the first result), {counts['cells'] / wall:.0f} cells a second")
    print(f"  actors busy {busy / (wall - first) / options.actors:.1%} of the time after the first result")
    print(f"  driver: {1e3 * cpu / counts['cells']:.2f} ms of CPU a cell, results written included")
    if wrong or rows != expected or counts["cells"] != expected:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
