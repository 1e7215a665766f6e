import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from transferability.transport import coupling
from transferability.transport.coupling import Coupling, couple, optimal_coupling


def marginals(coupling: Coupling, m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.bincount(coupling.source, weights=coupling.mass, minlength=m),
        np.bincount(coupling.target, weights=coupling.mass, minlength=n),
    )


def masses(rng: np.random.Generator, n: int, kind: str) -> np.ndarray | None:
    """Uniform, uneven, or with points that weigh next to nothing."""
    if kind == "uniform":
        return None
    return rng.dirichlet(np.full(n, 1.0 if kind == "uneven" else 0.05)) + 1e-12


def test_two_points_each_go_straight_or_crossed() -> None:
    straight = optimal_coupling(np.array([[1.0, 5.0], [5.0, 2.0]]))
    assert (straight.value, straight.exact, straight.target[straight.source].tolist()) == (1.5, True, [0, 1])
    crossed = optimal_coupling(np.array([[5.0, 1.0], [2.0, 5.0]]))
    assert crossed.value == 1.5
    # Three quarters at u_0: one of them stays, the rest crosses.
    uneven = optimal_coupling(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0.75, 0.25]))
    assert uneven.value == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 7), (7, 1)])
@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_a_single_point_leaves_no_choice(m: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(m + n)
    cost, a, b = rng.random((m, n)), masses(rng, m, kind), masses(rng, n, kind)
    found = optimal_coupling(cost, a, b)
    left, right = (np.full(k, 1 / k) if w is None else w / w.sum() for k, w in ((m, a), (n, b)))
    assert found.exact
    assert found.value == pytest.approx(left @ cost @ right, rel=1e-12)


@pytest.mark.parametrize(("m", "n"), [(9, 9), (9, 14), (14, 9), (2, 30)])
@pytest.mark.parametrize("kind", ["uniform", "uneven", "spiky"])
def test_on_a_line_the_sorted_order_is_best(m: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(100 * m + n)
    u, v = rng.normal(size=m), 2 + rng.normal(size=n)
    a, b = masses(rng, m, kind), masses(rng, n, kind)
    found = optimal_coupling(np.abs(u[:, None] - v), a, b)
    assert found.exact
    assert found.value == pytest.approx(wasserstein_distance(u, v, a, b), rel=1e-9)


@pytest.mark.parametrize(("m", "n"), [(5, 5), (4, 7), (6, 3)])
@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_value_is_the_optimum_of_the_linear_programme(m: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(10 * m + n)
    cost, a, b = rng.random((m, n)), masses(rng, m, kind), masses(rng, n, kind)
    left, right = (np.full(k, 1 / k) if w is None else w / w.sum() for k, w in ((m, a), (n, b)))
    rows = np.kron(np.eye(m), np.ones(n))
    columns = np.kron(np.ones(m), np.eye(n))
    programme = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([left, right]))
    found = optimal_coupling(cost, a, b)
    assert found.value == pytest.approx(programme.fun, rel=1e-9)
    found_left, found_right = marginals(found, m, n)
    np.testing.assert_allclose(found_left, left, atol=1e-14)
    np.testing.assert_allclose(found_right, right, atol=1e-14)


def test_assignment_agrees_with_the_network_simplex() -> None:
    rng = np.random.default_rng(5)
    cost = cdist(rng.normal(size=(60, 3)), rng.normal(size=(60, 3)))
    uniform = np.full(60, 1 / 60)
    by_assignment, by_simplex = optimal_coupling(cost), optimal_coupling(cost, uniform, uniform)
    assert by_assignment.value == pytest.approx(by_simplex.value, rel=1e-12)
    assert by_assignment.value == pytest.approx(ot.emd2(uniform, uniform, cost), rel=1e-12)


def test_a_repeated_point_is_a_point_of_double_weight() -> None:
    rng = np.random.default_rng(6)
    u, v = rng.normal(size=(5, 2)), rng.normal(size=(8, 2))
    repeats = np.array([1, 3, 2, 1, 1])
    repeated = optimal_coupling(cdist(np.repeat(u, repeats, axis=0), v))
    weighted = optimal_coupling(cdist(u, v), repeats / 8)
    assert repeated.value == pytest.approx(weighted.value, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e12, 1e300])
def test_value_follows_the_unit_of_the_cost(scale: float) -> None:
    rng = np.random.default_rng(7)
    cost = rng.random((6, 9))
    assert optimal_coupling(cost * scale).value / scale == pytest.approx(optimal_coupling(cost).value, rel=1e-9)


def test_all_points_in_one_place_cost_nothing() -> None:
    assert optimal_coupling(np.zeros((4, 4))).value == 0
    assert optimal_coupling(np.zeros((4, 6))).value == 0
    assert couple(lambda r, c: np.zeros((len(r), len(c))), 40, 30, max_points=7).value == 0


@pytest.mark.parametrize(("m", "n", "max_points"), [(60, 60, 60), (61, 61, 20), (60, 45, 20), (13, 60, 11), (60, 1, 7)])
@pytest.mark.parametrize("kinds", [("uniform", "uniform"), ("uneven", "uniform"), ("spiky", "uneven")])
def test_blocks_are_feasible_and_never_cheaper(m: int, n: int, max_points: int, kinds: tuple[str, str]) -> None:
    rng = np.random.default_rng(m * n)
    cost = cdist(rng.normal(size=(m, 2)), rng.normal(size=(n, 2)))
    a, b = masses(rng, m, kinds[0]), masses(rng, n, kinds[1])
    left, right = (np.full(k, 1 / k) if w is None else w / w.sum() for k, w in ((m, a), (n, b)))
    blocks: list[tuple[int, int]] = []

    def price(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        blocks.append((len(rows), len(columns)))
        return cost[np.ix_(rows, columns)]

    found = couple(price, m if a is None else a, n if b is None else b, max_points=max_points, rng=rng)
    assert found.exact == (len(blocks) == 1)
    found_left, found_right = marginals(found, m, n)
    np.testing.assert_allclose(found_left, left, atol=1e-13)
    np.testing.assert_allclose(found_right, right, atol=1e-13)
    assert (found.mass >= 0).all()
    assert found.value == pytest.approx(found.mass @ cost[found.source, found.target], rel=1e-12)
    optimum = ot.emd2(left, right, cost)
    assert found.value >= optimum - 1e-12
    if found.exact:
        assert found.value == pytest.approx(optimum, rel=1e-9)


def test_blocks_of_uniform_points_stay_within_the_limit() -> None:
    sizes: list[int] = []

    def price(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        sizes.extend([len(rows), len(columns)])
        return np.abs(rows[:, None] - columns).astype(float)

    couple(price, 95, 95, max_points=10, rng=np.random.default_rng(0))
    assert max(sizes) <= 10
    assert len(sizes) == 20


def test_blocks_approach_the_optimum() -> None:
    rng = np.random.default_rng(8)
    u, v = rng.normal(size=(400, 2)), rng.normal(size=(400, 2)) + np.array([3, 0])
    cost = cdist(u, v)
    whole = couple(lambda r, c: cost[np.ix_(r, c)], 400, 400)
    halves = couple(lambda r, c: cost[np.ix_(r, c)], 400, 400, max_points=200)
    product = cost.mean()
    assert whole.exact
    assert not halves.exact
    assert whole.value <= halves.value < whole.value + 0.2 * (product - whole.value)


def test_blocks_are_the_same_for_the_same_seed() -> None:
    cost = np.random.default_rng(9).random((50, 50))
    one, two, other = (
        couple(lambda r, c: cost[np.ix_(r, c)], 50, 50, max_points=9, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert one.value == two.value
    np.testing.assert_array_equal(one.target[np.argsort(one.source)], two.target[np.argsort(two.source)])
    assert one.value != other.value


@pytest.mark.parametrize("ties", [False, True])
def test_large_samples_of_one_size_are_matched_one_to_one(ties: bool) -> None:
    # Past the size where SciPy's assignment serves, the simplex must return a permutation of the same value.
    rng = np.random.default_rng(3)
    cost = cdist(rng.normal(size=(520, 8)), 1.5 * rng.normal(size=(520, 8)) + 0.5)
    if ties:
        cost = np.round(cost) * 1e-8
    found = optimal_coupling(cost)
    rows, columns = linear_sum_assignment(cost)
    assert found.exact
    assert sorted(found.source) == sorted(found.target) == list(range(520))
    assert found.value == pytest.approx(cost[rows, columns].mean(), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("kind", ["points without mass", "one cost for all", "far outlier"])
def test_where_the_search_starts_never_decides_where_it_ends(kind: str, scale: float) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(60, 3)) + 1
    a, b = rng.random(40), rng.random(60)
    if kind == "points without mass":
        a[::3], b[::4] = 0, 0
    if kind == "far outlier":
        x[0] += 1e6
    cost = np.full((40, 60), scale) if kind == "one cost for all" else scale * cdist(x, y)
    found = optimal_coupling(cost, a, b)
    plain = ot.emd2(a / a.sum(), b / b.sum(), cost / cost.max()) * cost.max()
    assert found.exact
    assert found.value == pytest.approx(plain, rel=1e-9)


def test_blocks_of_large_samples_keep_their_masses() -> None:
    # A thousand points on a side go to the simplex, here with nothing but ties.
    found = couple(lambda rows, columns: np.zeros((len(rows), len(columns))), 1300, 1300, max_points=700)
    assert found.value == 0
    assert np.allclose(marginals(found, 1300, 1300), 1 / 1300, rtol=1e-9)


@pytest.mark.parametrize("limit", [1, 3, 40])
def test_a_search_that_stops_early_still_gives_a_coupling(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # The plan of a simplex that was stopped leaves masses where they are; what is returned moves all of them.
    monkeypatch.setattr(coupling, "_MAX_ITERATIONS", limit)
    rng = np.random.default_rng(11)
    cost = rng.random((40, 60))
    a, b = rng.dirichlet(np.ones(40)), rng.dirichlet(np.ones(60))
    found = optimal_coupling(cost, a, b)
    assert not found.exact
    for side, mass in zip(marginals(found, 40, 60), (a, b), strict=True):
        np.testing.assert_allclose(side, mass, atol=1e-9)
    assert found.value >= ot.emd2(a, b, cost) - 1e-12
