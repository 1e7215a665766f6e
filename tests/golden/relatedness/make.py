"""Make `tasks.npz` and `values.json`: run it with numpy, scipy and POT only; nothing of this project is imported.

A reference with five classes and a target with three, different dimensions, lopsided classes, a given classifier and a
given map. The terms of the bound are computed from their definitions, with POT's network simplex; the best one-to-one
classes by going through all of them; the optimum of the Lipschitz classifier by SLSQP.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import ot
import scipy
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

HERE = Path(__file__).parent
TAU = 0.6  # of the classifier whose optimum is stored


def make_tasks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(20261121)
    centres = 2 * rng.normal(size=(5, 7))
    y_r = rng.permutation(np.repeat(np.arange(5), [9, 14, 6, 11, 10]))
    y_t = rng.permutation(np.repeat(np.arange(3), [17, 5, 12]))
    turn = np.linalg.qr(rng.normal(size=(7, 4)))[0]
    return {
        "reference": centres[y_r] + rng.normal(size=(50, 7)),
        "reference_labels": y_r,
        "target": (centres[[3, 0, 4]][y_t] + rng.normal(size=(34, 7))) @ turn + 1.0,
        "target_labels": y_t,
        "weights": 0.4 * rng.normal(size=(5, 7)),
        "intercept": 0.3 * rng.normal(size=5),
        "map": turn + 0.1 * rng.normal(size=(7, 4)),
        "offset": 0.2 * rng.normal(size=7),
        "shares": np.array([[0, 0.25, 0, 0.75, 0], [1, 0, 0, 0, 0], [0.2, 0, 0.3, 0, 0.5]]),
    }


def pair_cost(t: dict[str, np.ndarray], kind: str, m: int, n: int) -> float:
    """Cost of moving reference point m to mapped target point n, from the definition."""
    u, v = t["reference"][m], t["map"] @ t["target"][n] + t["offset"]
    if kind == "euclidean":
        tau = max(np.linalg.norm(a - b) for a in t["weights"] for b in t["weights"])
        return float(tau * np.linalg.norm(v - u))
    delta = t["weights"] @ (v - u)
    return float(delta.max() - delta[t["reference_labels"][m]])


def transport(t: dict[str, np.ndarray], cost: np.ndarray, i: int, shares: np.ndarray) -> float:
    """Exact transport from the mixture of reference classes to target class i."""
    counts = np.bincount(t["reference_labels"])
    masses = shares[t["reference_labels"]] / counts[t["reference_labels"]]
    rows, columns = np.flatnonzero(masses), np.flatnonzero(t["target_labels"] == i)
    uniform = np.full(len(columns), 1 / len(columns))
    return float(ot.emd2(masses[rows] / masses.sum(), uniform, np.ascontiguousarray(cost[np.ix_(rows, columns)])))


def terms(t: dict[str, np.ndarray], cost: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    """The three terms, the moved loss and the moved accuracy."""
    j, y = t["reference_labels"], t["target_labels"]
    priors = np.bincount(y) / len(y)
    joint = priors[:, None] * shares
    D = joint.sum(axis=0)
    B = np.where(D > 0, joint / np.where(D > 0, D, 1), 1 / 3)  # columns without mass are uniform
    log_h = log_softmax(t["reference"] @ t["weights"].T + t["intercept"], axis=1)
    L = [-log_h[j == k, k].mean() for k in range(5)]
    h = softmax((t["target"] @ t["map"].T + t["offset"]) @ t["weights"].T + t["intercept"], axis=1) @ B.T
    return {
        "reference_loss": float(D @ L),
        "label_mismatch": float(
            sum(joint[i, k] * np.log(1 / B[i, k]) for i, k in zip(*np.nonzero(joint), strict=True))
        ),
        "distribution_mismatch": float(sum(priors[i] * transport(t, cost, i, shares[i]) for i in range(3))),
        "transferred_loss": float(-np.log(h[np.arange(len(y)), y]).mean()),
        "transferred_accuracy": float((h.argmax(axis=1) == y).mean()),
    }


def lipschitz_optimum(z: np.ndarray, y: np.ndarray, tau: float) -> float:
    k, d, n = int(y.max()) + 1, z.shape[1], len(y)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        W, c = theta[: k * d].reshape(k, d), theta[k * d :]
        logp = log_softmax(z @ W.T + c, axis=1)
        residual = (np.exp(logp) - np.eye(k)[y]) / n
        return -logp[np.arange(n), y].mean(), np.concatenate([(residual.T @ z).ravel(), residual.sum(axis=0)])

    pairs = list(itertools.combinations(range(k), 2))

    def room(theta: np.ndarray) -> np.ndarray:
        W = theta[: k * d].reshape(k, d)
        return np.array([1 - ((W[a] - W[b]) ** 2).sum() / tau**2 for a, b in pairs])

    found = minimize(  # type: ignore[call-overload]
        loss,
        np.zeros(k * (d + 1)),
        jac=True,
        method="SLSQP",
        constraints={"type": "ineq", "fun": room},
        options={"maxiter": 1000, "ftol": 1e-12},
    )
    assert found.success, found.message
    return float(found.fun)


def main() -> None:
    t = make_tasks()
    values: dict[str, object] = {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "POT": ot.__version__},
        "lipschitz": {"tau": TAU, "optimum": lipschitz_optimum(t["reference"], t["reference_labels"], TAU)},
    }
    for kind in ("loss", "euclidean"):
        cost = np.array([[pair_cost(t, kind, m, n) for n in range(34)] for m in range(50)])
        choices = {each: terms(t, cost, np.eye(5)[list(each)]) for each in itertools.permutations(range(5), 3)}
        bounds = {each: sum(list(found.values())[:3]) for each, found in choices.items()}
        best = min(bounds, key=lambda each: bounds[each])
        values[kind] = {
            "shares": terms(t, cost, t["shares"]),
            "one_to_one": terms(t, cost, np.eye(5)[[3, 0, 4]]),
            "all_on_two": terms(t, cost, np.eye(5)[[1, 1, 2]]),
            "best": {"class_map": list(best), "bound": bounds[best]},
        }
    np.savez_compressed(HERE / "tasks.npz", **t)
    (HERE / "values.json").write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
