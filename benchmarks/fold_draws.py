"""How much another draw of the folds moves what is reported, beside the confidence interval that is reported with it.

    python benchmarks/fold_draws.py [--draws 12]

Ten overlapping classes in 64 dimensions, a turned copy of them as the target, with the first as reference and with the
target's own other half. Only the order of the target's rows differs between draws, which decides the folds and the
halves (another seed does the same). No data needed.
"""

from __future__ import annotations

import argparse

import numpy as np

from transferability import Relatedness, Task, TaskRelatedness

ROWS = (100, 200, 600, 1_500)
CLASSES, DIMENSIONS = 10, 64


def main() -> None:
    """Print a line for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=12)
    draws = parser.parse_args().draws
    print("| rows | reference | bound: mean, deviation over draws | loss | its interval | accuracy | its interval |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for n in ROWS:
        reference, target = tasks(n)
        orders = [np.random.default_rng(draw).permutation(n) for draw in range(draws)]
        for given in (reference, None):
            results = [TaskRelatedness().fit(given, target.subset(order), folds=5) for order in orders]
            print(f"| {n:,} | {'own half' if given is None else 'given'} | {' | '.join(_cells(results))} |", flush=True)


def _cells(results: list[Relatedness]) -> list[str]:
    columns = zip(*((each.bound, each.transferred_loss, each.transferred_accuracy) for each in results), strict=True)
    bound, loss, accuracy = (f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" for values in columns)
    ends = [results[0].interval("transferred_loss"), results[0].interval()]
    shown = [f"{each.low:.2f} to {each.high:.2f}" for each in ends if each is not None]
    return [bound, loss, shown[0], accuracy, shown[1]]


def tasks(n: int) -> tuple[Task, Task]:
    """Return 1,000 rows of the reference and `n` of the target."""
    rng = np.random.default_rng(0)
    centres = 0.5 * rng.normal(size=(CLASSES, DIMENSIONS))
    turn = np.linalg.qr(rng.normal(size=(DIMENSIONS, DIMENSIONS)))[0]

    def drawn(rows: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(rows) % CLASSES
        return centres[labels] + rng.normal(size=(rows, DIMENSIONS)), labels

    (left, left_labels), (right, right_labels) = drawn(1_000), drawn(n)
    return Task(left, left_labels, name="reference"), Task(right @ turn, right_labels, name="target")


if __name__ == "__main__":
    main()
