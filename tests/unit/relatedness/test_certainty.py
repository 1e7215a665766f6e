"""How sure each class match is: margins against all permutations, and what equal names decide."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import logsumexp, xlogy

from transferability import Task, TaskRelatedness
from transferability.relatedness.labels.certainty import settle_near_ties


def best(weighted: np.ndarray, forbidden: tuple[int, int] | None = None) -> tuple[float, tuple[int, ...]]:
    """Return the cheapest one-to-one assignment by going through all of them."""
    k_t, k_r = weighted.shape
    choices = [
        each
        for each in itertools.permutations(range(k_r), k_t)
        if forbidden is None or each[forbidden[0]] != forbidden[1]
    ]
    return min((float(weighted[np.arange(k_t), list(each)].sum()), each) for each in choices)


def problem(seed: int, k_t: int, k_r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([np.arange(k_t), np.arange(k_t), rng.integers(k_t, size=20)]))
    priors = np.bincount(labels) / len(labels)
    return rng.exponential(size=(k_t, k_r)), priors, rng.normal(size=(len(labels), k_r)), labels


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("k_t", "k_r"), [(2, 2), (3, 3), (5, 5), (6, 6), (3, 5), (1, 4)])
def test_margin_is_what_the_best_other_permutation_costs_more(seed: int, k_t: int, k_r: int) -> None:
    costs, priors, logits, labels = problem(seed, k_t, k_r)
    weighted = priors[:, None] * costs
    least, chosen = best(weighted)
    found, certainty = settle_near_ties(costs, np.array(chosen), priors, logits, labels, (None, None))
    assert found.tolist() == list(chosen)
    losses = logsumexp(logits, axis=1)[:, None] - logits
    for i, j in enumerate(chosen):
        more, other = best(weighted, (i, j))
        assert certainty.margin[i] == pytest.approx(more - least, abs=1e-12)
        assert certainty.alternative[i] == other[i]
        # The difference is a sum over classes of means over their rows.
        variance = 0.0
        for k in range(k_t):
            if other[k] != chosen[k]:
                difference = losses[labels == k, other[k]] - losses[labels == k, chosen[k]]
                variance += priors[k] ** 2 * difference.var(ddof=1) / len(difference)
        assert certainty.standard_error[i] == pytest.approx(np.sqrt(variance), rel=1e-9)


def near_tie(gap: float) -> tuple[np.ndarray, ...]:
    """Two classes: as they stand the swapped assignment costs `gap` nats less, within noise where that is small."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    costs = np.array([[1.0 + gap, 1.0], [1.0, 1.0 + gap]])
    return costs, np.array([0.5, 0.5]), rng.normal(size=(60, 2)), labels


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((["cat", "dog"], ["Cat ", "DOG"]), [0, 1]),  # within noise, the name decides
        ((["cat", "dog"], ["dog", "cat"]), [1, 0]),
        ((["cat", "dog"], ["bird", "fish"]), [1, 0]),
        ((None, ["cat", "dog"]), [1, 0]),
        ((["cat", "dog"], None), [1, 0]),
        ((["cat", "dog"], ["cat", "bird"]), [0, 1]),  # one name is enough
        ((["zoo: cat", "farm: dog"], ["cat", "dog"]), [0, 1]),  # of a union
        ((["wildcat", "dogs"], ["cat", "dog"]), [1, 0]),
    ],
)
def test_equal_names_decide_within_noise(names: tuple, expected: list[int]) -> None:
    costs, priors, logits, labels = near_tie(0.01)
    chosen, certainty = settle_near_ties(costs, np.array([1, 0]), priors, logits, labels, names)
    assert chosen.tolist() == expected
    assert certainty.margin[0] == pytest.approx(0.01 if expected == [1, 0] else -0.01)
    assert (np.abs(certainty.margin) < certainty.standard_error).all()


@pytest.mark.parametrize(("errors", "expected"), [(1.9, [0, 1]), (2.1, [1, 0])])
def test_noise_is_two_standard_errors(errors: float, expected: list[int]) -> None:
    costs, priors, logits, labels = near_tie(0.01)
    error = settle_near_ties(costs, np.array([1, 0]), priors, logits, labels, (None, None))[1].standard_error[0]
    costs = np.array([[2 * errors * error, 0.0], [0.0, 0.0]])  # of which each class weighs a half
    chosen, _ = settle_near_ties(costs, np.array([1, 0]), priors, logits, labels, (["a", "b"], ["a", "b"]))
    assert chosen.tolist() == expected


def test_names_do_not_decide_where_costs_differ() -> None:
    costs, priors, logits, labels = near_tie(5.0)
    chosen, certainty = settle_near_ties(costs, np.array([1, 0]), priors, logits, labels, (["a", "b"], ["a", "b"]))
    assert chosen.tolist() == [1, 0]
    assert (certainty.margin > 2 * certainty.standard_error).all()


def test_a_later_name_takes_no_class_from_an_earlier_one() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    logits = 9 * rng.normal(size=(60, 3))  # noise that no difference of these costs exceeds
    costs = np.array([[1.0, 9.0, 0.0], [0.0, 1.0, 0.5], [0.2, 0.0, 1.0]])
    names = ["a", "b", "c"], ["a", "b", "x"]
    found, _ = settle_near_ties(costs, np.array([2, 0, 1]), np.full(3, 1 / 3), logits, labels, names)
    assert found.tolist() == [0, 1, 2]  # with b at 1 alone, a would be cheaper at 2


def test_a_class_that_has_its_name_keeps_it() -> None:
    costs, priors, logits, _ = near_tie(0.0)
    few = np.array([0, *([1] * 59)])  # a class of one row is never sure, and would accept any plan
    names = ["a", "b"], ["a ", "A"]  # two target classes of the one name
    found, _ = settle_near_ties(costs, np.array([1, 0]), priors, logits, few, names)
    assert found.tolist() == [1, 0]


def shared_cost(costs: np.ndarray, priors: np.ndarray, chosen: tuple[int, ...]) -> float:
    mass = np.bincount(chosen, weights=priors, minlength=costs.shape[1])
    return float(priors @ costs[np.arange(len(priors)), list(chosen)]) + float(xlogy(mass, mass).sum())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("k_t", "k_r"), [(3, 2), (4, 3), (5, 2), (6, 4)])
def test_margin_of_shared_classes_is_the_cheapest_move_or_swap(seed: int, k_t: int, k_r: int) -> None:
    costs, priors, logits, labels = problem(seed, k_t, k_r)
    every = itertools.product(range(k_r), repeat=k_t)
    chosen = min(every, key=lambda each: shared_cost(costs, priors, each))
    least = shared_cost(costs, priors, chosen)
    found, certainty = settle_near_ties(costs, np.array(chosen), priors, logits, labels, (None, None))
    assert found.tolist() == list(chosen)
    losses = logsumexp(logits, axis=1)[:, None] - logits
    for i in range(k_t):
        beside = [(*chosen[:i], j, *chosen[i + 1 :]) for j in range(k_r) if j != chosen[i]]
        for k in range(k_t):
            if chosen[k] != chosen[i]:
                plan = list(chosen)
                plan[i], plan[k] = plan[k], plan[i]
                beside.append(tuple(plan))
        other = min(beside, key=lambda each: shared_cost(costs, priors, each))
        assert certainty.margin[i] == pytest.approx(shared_cost(costs, priors, other) - least, abs=1e-12)
        assert certainty.alternative[i] == other[i]
        changed = [k for k in range(k_t) if other[k] != chosen[k]]
        differences = [losses[labels == k, other[k]] - losses[labels == k, chosen[k]] for k in changed]
        variance = sum(priors[k] ** 2 * d.var(ddof=1) / len(d) for k, d in zip(changed, differences, strict=True))
        assert certainty.standard_error[i] == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_equal_names_decide_among_shared_classes_too() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    costs = np.array([[0.02, 0.0], [0.0, 0.02], [0.3, 0.0]])
    logits = 2 * rng.normal(size=(90, 2))
    names = ["cat", "dog"], ["cat", "dog", "bird"]
    priors = np.full(3, 1 / 3)
    chosen = np.array([1, 0, 1])
    assert settle_near_ties(costs, chosen, priors, logits, labels, (None, None))[0].tolist() == [1, 0, 1]
    assert settle_near_ties(costs, chosen, priors, logits, labels, names)[0].tolist() == [0, 1, 1]
    far = settle_near_ties(50 * costs, chosen, priors, logits, labels, names)[0]
    assert far.tolist() == [1, 0, 1]


def test_a_fit_with_shared_classes_says_what_a_class_could_as_well_be() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 4
    centres = np.array([[6.0, 0, 0, 0], [0, 6.0, 0, 0], [3.0, 3.0, 0, 0], [0, 6.0, 3.0, 0]])
    target = Task(
        centres[labels] + rng.normal(size=(160, 4)), labels, class_names=["near a", "near b", "between", "b too"]
    )
    of_two = np.arange(120) % 2
    reference = Task(centres[of_two] + rng.normal(size=(120, 4)), of_two, class_names=["a", "b"])
    rows = {each.target_class: each for each in TaskRelatedness(standardize=False).fit(reference, target).classes}
    assert rows["near b"].alternative_class == "a"
    assert rows["near b"].margin > 2 * rows["near b"].margin_error
    assert {rows["between"].reference_class, rows["between"].alternative_class} == {"a", "b"}
    assert rows["between"].margin < rows["near b"].margin


def test_nothing_is_said_of_very_many_classes() -> None:
    many = np.eye(201)
    result = settle_near_ties(many, np.arange(201), np.full(201, 1 / 201), many, np.arange(201), (None, None))
    assert result[1] is None


def test_classes_of_one_row_are_never_sure() -> None:
    costs, priors, logits, _ = near_tie(5.0)
    few = np.array([0, *([1] * 59)])
    _, certainty = settle_near_ties(costs, np.array([1, 0]), priors, logits, few, (None, None))
    assert np.isinf(certainty.standard_error).all()


@pytest.mark.parametrize("ground_cost", ["exact", "loss"])
def test_a_fit_finds_namesakes_whatever_the_seed(ground_cost: str) -> None:
    """Two reference classes that nearly coincide: without names which is which is chance, with names it is not."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    centres = np.array([[4.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 4.0, 0.1, 0]])
    names = ["sun", "moon", "Moon full"]
    reference, plain = (Task(centres[labels] + rng.normal(size=(120, 4)), labels, class_names=names) for _ in range(2))
    swapped = np.array([0, 2, 1])[labels]  # where classes 1 and 2 lie says nothing
    for target in (plain, Task(plain.features, swapped, class_names=names)):
        for seed in range(3):
            result = TaskRelatedness(0.5, ground_cost=ground_cost, seed=seed).fit(reference, target)
            assert result.class_map.tolist() == [0, 1, 2]
    certainty = result.match_certainty
    assert certainty.margin[0] > 2 * certainty.standard_error[0]
    assert abs(certainty.margin[1]) <= 2 * certainty.standard_error[1]
    assert certainty.alternative[1] == 2
