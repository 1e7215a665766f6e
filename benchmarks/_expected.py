"""Coverage of expected fine-tuned accuracies, for `coverage.py`: on new targets, and after their first encoders."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.special

from transferability.ranking.expected import KnownAccuracy, expected_accuracies, published_accuracies, surprises
from transferability.ranking.target_effect import predict, variance_components

Row = list[object]


def expected(rng: np.random.Generator, times: int) -> Iterator[Row]:
    """Of fine-tuned accuracies on a new target, 90 % asked, nine encoders a target; and of the published pairs."""
    yield ["targets known", "effect of a target, of a pair", "held", "mean width"]
    for n_targets in (2, 3, 4, 5, 8):
        for of_target, of_pair in ((0.7, 0.3), (0.3, 0.7)):
            held, widths = [], []
            for _ in range(times):
                x = rng.normal(1, 1, size=(n_targets + 1, 9))
                y = 0.3 + 0.9 * x + of_target * rng.normal(size=(n_targets + 1, 1)) + of_pair * rng.normal(size=x.shape)
                probes, tuned = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(-y))
                known = [
                    KnownAccuracy(str(k), str(e), probes[k, e], tuned[k, e]) for k in range(n_targets) for e in range(9)
                ]
                found = expected_accuracies(probes[-1].tolist(), known)
                held += [each.low <= a <= each.high for each, a in zip(found, tuned[-1], strict=True)]
                widths += [each.high - each.low for each in found]
            yield [n_targets, f"{of_target}, {of_pair}", f"{np.mean(held):.3f}", f"{np.mean(widths):.2f}"]
    pairs = published_accuracies()
    targets = sorted({pair.target for pair in pairs})
    for n_targets in (2, 3, 4):
        held, widths = [], []
        for chosen in itertools.combinations(targets, n_targets):
            known, new = ([pair for pair in pairs if (pair.target in chosen) == mine] for mine in (True, False))
            found = expected_accuracies([pair.probe for pair in new], known)
            held += [each.low <= pair.fine_tuned <= each.high for each, pair in zip(found, new, strict=True)]
            widths += [each.high - each.low for each in found]
        yield [n_targets, "published", f"{np.mean(held):.3f}", f"{np.mean(widths):.2f}"]


def targets_of(
    rng: np.random.Generator, n_targets: int, n: int, of_target: float, of_pair: float, of_slope: float
) -> list[list[KnownAccuracy]]:
    """Return pairs of so many targets with n encoders each, by probe, the largest first."""
    found = []
    for k in range(n_targets):
        x = -np.sort(-rng.normal(rng.normal(0, 0.5) + 1, 1, size=n))
        slope = 0.9 + of_slope * rng.normal()
        y = 0.3 + slope * (x - 1) + 0.9 + of_target * rng.normal() + of_pair * rng.normal(size=n)
        shares = zip(*(1 / (1 + np.exp(-np.array([x, y])))).tolist(), strict=True)
        found.append([KnownAccuracy(str(k), str(e), *both) for e, both in enumerate(shares)])
    return found


Told = list[tuple[bool, bool, float, float, float, float]]


def others_after(known: list[KnownAccuracy], own: list[KnownAccuracy], given: list[KnownAccuracy]) -> Told:
    """Tell of each encoder that was not fine-tuned, before others were and after: held, width, error of the value."""
    rest = [pair for pair in own if pair not in given]
    before, after = (expected_accuracies([pair.probe for pair in rest], known, confirmed=c) for c in ((), given))
    return [
        (
            *(each.low <= pair.fine_tuned <= each.high for each in both),
            *(each.high - each.low for each in both),
            *(abs(each.value - pair.fine_tuned) for each in both),
        )
        for pair, *both in zip(rest, before, after, strict=True)
    ]


def _confirmed_row(worlds: list[tuple[list[KnownAccuracy], list[KnownAccuracy]]]) -> Row:
    """Return the cells of known pairs and the pairs of a new target: three counts, and the best of the first three."""
    cells: Row = []
    for m in (1, 2, 3, None):
        told: Told = []
        for known, own in worlds:
            given = own[:m] if m else [max(own[:3], key=lambda pair: pair.fine_tuned)]
            told += others_after(known, own, given)
        means = np.mean(told, axis=0)
        cells.append("{1:.3f} / {2:.2f} → {3:.2f} / {4:.3f} → {5:.3f}".format(*means))
    return [*cells, f"{np.mean([held for known, own in worlds for held in held_by_student(known, own, own[:3])]):.3f}"]


def held_by_student(known: list[KnownAccuracy], own: list[KnownAccuracy], given: list[KnownAccuracy]) -> list[bool]:
    """Tell of the others whether intervals hold that take the regression's errors as normal: Student's t."""

    def logits(pairs: list[KnownAccuracy]) -> np.ndarray:
        shares = np.array([(pair.probe, pair.fine_tuned) for pair in pairs]).T
        return np.log((1000 * shares + 0.5) / (1000 * (1 - shares) + 0.5))

    targets, group = np.unique([pair.target for pair in known], return_inverse=True)
    (x, y), (x_new, y_new) = logits(known), logits([pair for pair in own if pair not in given])
    residual, between, _ = variance_components(x, y, group)
    found = predict(x, y, group, x_new, between / residual, (*logits(given), np.ones(len(given))))
    quantile = scipy.special.stdtrit(len(x) - len(targets) - 1, 0.95)
    return (np.abs(y_new - found.centre) <= quantile * np.sqrt(residual) * found.deviation).tolist()


def confirmed(rng: np.random.Generator, times: int) -> Iterator[Row]:
    """After m encoders of the target, of the others (90 % asked): held / width, before → after / error of the value."""
    # The m are the first by the probe; in the last column the most accurate of the first three, as a race keeps it.
    title: Row = [
        "targets known",
        "deviations of target, pair, slope",
        *(f"m = {m}" for m in (1, 2, 3)),
        "best of three",
    ]
    yield [*title, "m = 3, Student's t: held"]
    for n_targets in (2, 3, 5, 8):
        for deviations in ((0.8, 0.5, 0.0), (0.8, 0.5, 0.3), (0.3, 0.7, 0.0), (0.0, 0.5, 0.0)):
            drawn = [targets_of(rng, n_targets + 1, 9, *deviations) for _ in range(times)]
            worlds = [([pair for pairs in others for pair in pairs], own) for *others, own in drawn]
            yield [n_targets, ", ".join(map(str, deviations)), *_confirmed_row(worlds)]
    pairs = sorted(published_accuracies(), key=lambda pair: -pair.probe)
    targets = sorted({pair.target for pair in pairs})
    for n_targets in (2, 3, 4):
        worlds = [
            ([pair for pair in pairs if pair.target in chosen], [pair for pair in pairs if pair.target == target])
            for chosen in itertools.combinations(targets, n_targets)
            for target in targets
            if target not in chosen
        ]
        yield [n_targets, "published", *_confirmed_row(worlds)]
    yield [f"brief against full fine-tuning, log odds: {brief_against_full():+.3f}"]


def wrong(rng: np.random.Generator, times: int) -> Iterator[Row]:
    """Of the others where the first encoder by its probe is fine-tuned to 10 %: told so, held / width / error."""
    # In the last column of the same targets as they are: how often one of the first three is told to be far off.
    yield ["targets known", "deviations of target, pair", "m = 1", "m = 3", "m = 3, none went wrong: told"]
    for n_targets in (2, 3, 5, 8):
        for deviations in ((0.8, 0.5), (0.3, 0.7)):
            drawn = [targets_of(rng, n_targets + 1, 9, *deviations, 0.0) for _ in range(times)]
            worlds = [([pair for pairs in others for pair in pairs], own) for *others, own in drawn]
            yield [n_targets, ", ".join(map(str, deviations)), *_wrong_row(worlds)]
    pairs = sorted(published_accuracies(), key=lambda pair: -pair.probe)
    worlds = [
        ([pair for pair in pairs if pair.target != target], [pair for pair in pairs if pair.target == target])
        for target in sorted({pair.target for pair in pairs})
    ]
    yield [4, "published", *_wrong_row(worlds)]


def _wrong_row(worlds: list[tuple[list[KnownAccuracy], list[KnownAccuracy]]]) -> Row:
    cells: Row = []
    for m in (1, 3):
        told, after = [], []
        for known, own in worlds:
            given = [own[0]._replace(fine_tuned=0.1), *own[1:m]]
            told.append(given[0] in [pair for pair, _ in surprises(given, known)])
            found = expected_accuracies([pair.probe for pair in own[m:]], known, confirmed=given)
            after += [
                (each.low <= pair.fine_tuned <= each.high, each.high - each.low, abs(each.value - pair.fine_tuned))
                for each, pair in zip(found, own[m:], strict=True)
            ]
        cells.append("{:.2f}, {:.3f} / {:.2f} / {:.3f}".format(np.mean(told), *np.mean(after, axis=0)))
    return [*cells, f"{np.mean([bool(surprises(own[:3], known)) for known, own in worlds]):.3f}"]


def brief_against_full() -> float:
    """Return how far the accuracies of `confirm` are from those of the full recipe: `experiments/confirm_zoo.py`."""
    rows = json.loads((Path(__file__).parents[1] / "experiments" / "results" / "confirm_zoo.json").read_text())["rows"]
    pairs = [(row["confirmed"][name], row["fine-tuned"][name]) for row in rows for name in row["confirmed"]]
    brief, full = scipy.special.logit(np.transpose(pairs))
    return float(np.mean(brief - full))
