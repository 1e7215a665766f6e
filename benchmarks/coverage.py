"""Coverage and width of what a ranking says of new data, by simulation.

    python benchmarks/coverage.py             # all eight tables, some ten CPU minutes
    python benchmarks/coverage.py --times 100 --only folds

- `intervals`: of the accuracy of the first of a list of like encoders, and of its mean loss.
- `best`: how often the best encoder stays in the set of those that can be the best, and how many are in the set.
- `folds`: of the mean accuracy of the fold classifiers, where every row is measured by the classifier of its fold; with
  classifiers that hardly depend on single rows, and one (the nearest neighbour) that does.
- `pick`: of the fine-tuned accuracy of the most accurate of the first three of a ranking that has seen the same rows.
- `unequal`: of counts of rows with unequal chances, exactly.
- `expected`: of fine-tuned accuracies on a new target, from few known ones.
- `confirmed`: the same with the first encoders of the new target fine-tuned.
- `wrong`: the same where one of them went wrong.

What is claimed is 95 %, and 90 % of expected accuracies. Widths are of the end that matters: from the observed accuracy
down, from the observed loss up.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import scipy.stats
from _expected import confirmed, expected, wrong

from transferability.ranking.best_set import best_by_accuracy, best_by_loss
from transferability.statistics.bounded_means import (
    bernstein_interval,
    betting_interval,
    largest_smoothed_loss,
    smoothed_losses,
)
from transferability.statistics.intervals import clopper_pearson

CLAIMED = 0.95
K = 10
Array = np.ndarray
Row = list[object]


def correct_answers(rng: np.random.Generator, n: int, accuracies: Array, shared: float = 0.6) -> Array:
    """Return right answers, (n, m), to rows that are hard or easy for all encoders."""
    noise = rng.normal(size=(n, len(accuracies)))
    difficulty = np.sqrt(shared) * rng.normal(size=(n, 1)) + np.sqrt(1 - shared) * noise
    return difficulty < scipy.stats.norm.ppf(accuracies)


def cross_entropies(rng: np.random.Generator, n: int, margins: Array, spread: float = 2.0) -> Array:
    """Return losses, (n, m), of classifiers whose margins share a part."""
    shared = np.sqrt(0.6) * rng.normal(size=(n, 1)) + np.sqrt(0.4) * rng.normal(size=(n, len(margins)))
    return np.logaddexp(0, -(margins + spread * shared))


def bootstrap_low(values: Array, rng: np.random.Generator, quantile: float = 0.025) -> float:
    """Return an end of the percentile interval of a mean."""
    n = len(values)
    return float(np.quantile(rng.multinomial(n, np.full(n, 1 / n), 400) @ values / n, quantile))


def intervals(rng: np.random.Generator, times: int) -> Iterator[Row]:
    """Of the first of a list."""
    yield [
        "n",
        "encoders",
        "accuracy",
        "bootstrap",
        "binomial",
        "binomial, shared",
        "betting, shared",
        "Bernstein, shared",
    ]
    largest = largest_smoothed_loss(K)
    true_loss = smoothed_losses(cross_entropies(rng, 1_000_000, np.array([2.0]))[:, 0], K).mean()
    for n in (20, 50, 100, 500, 2000):
        for m in (1, 4, 20, 100):
            for accuracy in (0.5, 0.9, 0.98):
                found = np.zeros((5, 2))
                for _ in range(times):
                    answers = correct_answers(rng, n, np.full(m, accuracy))
                    first = answers[:, answers.sum(axis=0).argmax()]
                    right, observed = int(first.sum()), first.mean()
                    lows = [
                        bootstrap_low(first.astype(float), rng),
                        clopper_pearson(right, n).low,
                        clopper_pearson(right, n, n_shared=m).low,
                    ]
                    found[:3] += [(low <= accuracy, observed - low) for low in lows]
                    losses = smoothed_losses(cross_entropies(rng, n, np.full(m, 2.0)), K)
                    best = losses[:, losses.mean(axis=0).argmin()]
                    for k, interval in enumerate((betting_interval, bernstein_interval), start=3):
                        high = interval(best, largest, n_shared=m).high
                        found[k] += (high >= true_loss, high - best.mean())
                yield [n, m, accuracy, *(f"{c:.2f} / {w:.3f}" for c, w in found / times)]


def first_only(answers: Array, rng: np.random.Generator) -> Array:
    """Return who is kept by the sign test of each against the observed first."""
    first = answers[:, [answers.sum(axis=0).argmax()]]
    won, lost = (first & ~answers).sum(axis=0), (~first & answers).sum(axis=0)
    return (scipy.stats.binom.sf(won - 1, won + lost, 0.5) > 1 - CLAIMED) | (won + lost == 0)


def resampled_first(answers: Array, rng: np.random.Generator) -> Array:
    """Return who is kept by the share of resamples in which the observed first is ahead; ties count half."""
    n = len(answers)
    drawn = rng.multinomial(n, np.full(n, 1 / n), 400) @ answers.astype(float)
    first = drawn[:, [answers.sum(axis=0).argmax()]]
    return (first > drawn).mean(axis=0) + (first == drawn).mean(axis=0) / 2 < CLAIMED


def largest_difference(answers: Array, rng: np.random.Generator) -> Array:
    """Return who is kept by the bootstrap of the largest studentised difference to any other."""
    x = answers.astype(float)
    n = len(x)
    covariance = np.atleast_2d(np.cov(x.T))
    variance = np.maximum(np.diag(covariance)[:, None] + np.diag(covariance) - 2 * covariance, 0) / n
    error = np.where(variance > 1e-12, np.sqrt(variance), np.inf)
    means = x.mean(axis=0)
    off = rng.multinomial(n, np.full(n, 1 / n), 200) @ x / n - means
    observed = ((means - means[:, None]) / error).max(axis=1)
    drawn = ((off[:, None, :] - off[:, :, None]) / error).max(axis=2)
    return (drawn >= observed - 1e-12).mean(axis=0) > 1 - CLAIMED


def best(rng: np.random.Generator, times: int) -> Iterator[Row]:
    """Of the set of encoders that can be the best; the first column is the best one, or one of several."""
    methods: dict[str, Callable[[Array, np.random.Generator], Array]] = {
        "sign tests, every other": lambda answers, rng: np.array(best_by_accuracy(answers).included),
        "bootstrap, largest difference": largest_difference,
        "sign test, observed first": first_only,
        "resamples, observed first": resampled_first,
    }
    yield ["n", "encoders", "accuracies", *methods, "betting, every other"]
    for n in (20, 100, 500, 2000):
        for m in (2, 10, 50):
            ladder = 0.9 - 0.01 * np.arange(m)
            for name, accuracies in (("all .9", np.full(m, 0.9)), ("from .9 by .01", ladder)):
                found = np.zeros((len(methods) + 1, 2))
                for _ in range(max(20, times // 4) if n * m > 20_000 else times):
                    answers = correct_answers(rng, n, accuracies)
                    kept = [method(answers, rng) for method in methods.values()]
                    margins = np.full(m, 2.0) if name == "all .9" else 2 - 0.1 * np.arange(m)
                    losses = smoothed_losses(cross_entropies(rng, n, margins), K)
                    kept.append(np.array(best_by_loss(losses, largest_smoothed_loss(K)).included))
                    found += [(each[0], each.sum()) for each in kept]
                done = max(20, times // 4) if n * m > 20_000 else times
                yield [n, m, name, *(f"{c:.2f} / {size:.1f}" for c, size in found / done)]


def nearest_mean(x: Array, y: Array, test: Array) -> Array:
    """Classify by the nearer class mean."""
    means = np.stack([x[y == k].mean(axis=0) for k in (0, 1)])
    return ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)


def ridge(x: Array, y: Array, test: Array) -> Array:
    """Classify by a ridge regression of ±1."""
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (2 * y - 1))
    return (test @ weights > 0).astype(int)


def nearest_neighbour(x: Array, y: Array, test: Array) -> Array:
    """Classify as the nearest row: what one row says can decide."""
    distance = (x**2).sum(axis=1) - 2 * test @ x.T
    return y[distance.argmin(axis=1)]


def folds(rng: np.random.Generator, times: int) -> Iterator[Row]:
    """Of the mean accuracy of five fold classifiers of two normal classes in ten dimensions."""
    yield ["n", "classifier", "mean accuracy", "binomial", "betting on errors"]
    d, distance = 10, 1.2
    truth = np.arange(20_000) % 2
    unseen = rng.normal(size=(len(truth), d)) + distance * truth[:, None] * (np.arange(d) < 2)
    for n in (20, 50, 200, 500):
        for classify in (nearest_mean, ridge, nearest_neighbour):
            covered, accuracies = np.zeros(2), []
            for _ in range(times):
                y = np.arange(n) % 2
                x = rng.normal(size=(n, d)) + distance * y[:, None] * (np.arange(d) < 2)
                fold = rng.permutation(n) % 5
                right, shares = np.empty(n, dtype=bool), []
                for k in range(5):
                    fit, test = fold != k, fold == k
                    right[test] = classify(x[fit], y[fit], x[test]) == y[test]
                    sample = rng.integers(len(truth), size=4000)
                    shares.append((classify(x[fit], y[fit], unseen[sample]) == truth[sample]).mean() * test.mean())
                accuracy = sum(shares)
                binomial = clopper_pearson(int(right.sum()), n)
                betting = betting_interval((~right).astype(float), 1.0)
                covered += [binomial.low <= accuracy <= binomial.high, betting.low <= 1 - accuracy <= betting.high]
                accuracies.append(accuracy)
            yield [n, classify.__name__, f"{np.mean(accuracies):.3f}", *(f"{c:.3f}" for c in covered / times)]


def pick(rng: np.random.Generator, times: int) -> Iterator[Row]:
    """Of the pick: like encoders that are right in 90 % before fine-tuning and after, on nine of ten rows alike."""
    yield ["n", "encoders", "shared over three", "shared over the list"]
    accuracy = 0.9
    for n in (50, 200, 1000):
        for m in (3, 10, 40, 100):
            found = np.zeros((2, 2))
            for _ in range(times):
                before = rng.random((n, m)) < accuracy
                first = np.argsort(-before.sum(axis=0), kind="stable")[:3]
                after = np.where(rng.random((n, 3)) < 0.9, before[:, first], rng.random((n, 3)) < accuracy)
                right = int(after.sum(axis=0).max())
                intervals = [clopper_pearson(right, n, n_shared=shared) for shared in (3, max(3, m))]
                found += [(each.low <= accuracy <= each.high, each.value - each.low) for each in intervals]
            yield [n, m, *(f"{c:.3f} / {w:.3f}" for c, w in found / times)]


def unequal(rng: np.random.Generator, times: int) -> Iterator[Row]:
    """Of counts of rows of which half have one chance and half another: the larger error of the two ends."""
    yield ["n", "mean accuracy", "equal chances", "unequal", "as unequal as can be"]
    for n in (20, 100, 500):
        counts = np.arange(n + 1)
        found = [clopper_pearson(int(k), n) for k in counts]
        low, high = np.array([each.low for each in found]), np.array([each.high for each in found])
        for mean in (0.5, 0.7, 0.9, 0.98, 1 - 0.01 / n):
            errors = []
            for spread in (0.0, 0.5, 1.0):
                half = spread * min(mean, 1 - mean)
                one, other = (scipy.stats.binom.pmf(np.arange(n // 2 + 1), n // 2, mean + s * half) for s in (1, -1))
                share = np.convolve(one, other)
                errors.append(max(share[low > mean].sum(), share[high < mean].sum()))
            yield [n, f"{mean:.4f}", *(f"{each:.5f}" for each in errors)]


TABLES = {
    "intervals": intervals,
    "best": best,
    "folds": folds,
    "pick": pick,
    "unequal": unequal,
    "expected": expected,
    "confirmed": confirmed,
    "wrong": wrong,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=400, help="draws for each line (default 400)")
    parser.add_argument("--only", choices=TABLES, action="append", help="tables (default all)")
    options = parser.parse_args()
    for name in options.only or TABLES:
        print(f"\n{name}: {TABLES[name].__doc__}")
        for row in TABLES[name](np.random.default_rng(0), options.times):
            print(" | ".join(str(each) for each in row), flush=True)


if __name__ == "__main__":
    main()
