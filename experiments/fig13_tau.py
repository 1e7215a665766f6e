"""Fig. 13: the trade-off in τ, with the τ that "auto" takes.

python experiments/fig13_tau.py --data FOLDER [--quick]
"""

from __future__ import annotations

from typing import Any

from _common import Run, options

from transferability import TaskRelatedness

TAUS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
ENCODERS = ("conv-cifar10", "conv-wide-cifar10", "vit-cifar10")
REFERENCE, TARGET = "mnist_m_cifar", "mnist"
COSTS = ("exact", "loss", "euclidean")


def main() -> None:
    """Walk over τ."""
    run = Run("fig13_tau", options(__doc__))
    rows: list[dict[str, Any]] = []
    for name in ENCODERS[:1] if run.quick else ENCODERS:
        for cost in COSTS:
            for tau in (*TAUS, "auto"):
                estimator = TaskRelatedness(tau, ground_cost=cost)
                (found,) = run.relatedness(name, TARGET, [REFERENCE], estimator, folds=None)  # h_T needs a test part
                rows.append({"encoder": name, "cost": cost, "asked": tau} | found)
        print(name, flush=True)
    for cost in COSTS:
        said, falls, inside, near = [], [], [], []
        for name in dict.fromkeys(row["encoder"] for row in rows):
            mine = [r for r in rows if (r["encoder"], r["cost"]) == (name, cost) and r["asked"] != "auto"]
            auto = next(r for r in rows if (r["encoder"], r["cost"], r["asked"]) == (name, cost, "auto"))
            best = min(mine, key=lambda row: row["bound"])
            falls.append(mine[0]["transferability"] > mine[4]["transferability"])
            inside.append(TAUS[0] < best["tau"] < TAUS[-1])
            near.append(auto["bound"] <= best["bound"] + 0.1)
            at_best, at_auto = (f"{row['bound']:.2f} at τ = {row['tau']:.2g}" for row in (best, auto))
            said.append(f"{name}: best {at_best}, auto {at_auto}")
        run.claim(
            f"Fig. 13: a larger τ lowers the loss of h_T and raises the mismatch; between is a best τ [{cost}]",
            "held" if all(falls) and all(inside) else "held in part" if all(falls) else "did not hold",
            "; ".join(said) + f"; auto within 0.1 nats of the best of the grid {sum(near)} of {len(near)} times",
        )
    run.finish(rows, draw(rows))


def draw(rows: list[dict[str, Any]]) -> Any:
    """Stack the terms over τ."""
    from matplotlib.figure import Figure

    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    figure = Figure(figsize=(4 * len(encoders), 2.5 * len(COSTS)), layout="constrained")
    axes = figure.subplots(len(COSTS), len(encoders), squeeze=False)
    for line, cost in zip(axes, COSTS, strict=True):
        for name, ax in zip(encoders, line, strict=True):
            mine = [r for r in rows if (r["encoder"], r["cost"]) == (name, cost) and r["asked"] != "auto"]
            auto = next(r for r in rows if (r["encoder"], r["cost"], r["asked"]) == (name, cost, "auto"))
            taus = [row["tau"] for row in mine]
            terms = [
                [row[key] for row in mine] for key in ("reference_loss", "label_mismatch", "distribution_mismatch")
            ]
            ax.stackplot(taus, terms, colors=["#0072B2", "#E69F00", "#56B4E9"])
            ax.plot(taus, [row["transferability"] for row in mine], color="black", marker="D", ms=3)
            ax.axvline(auto["tau"], color="black", lw=0.8, ls=":")
            ax.set_xscale("log")
            ax.set_ylim(0, 8)
            ax.set_title(f"{name}, {cost}", fontsize=8)
    return figure


if __name__ == "__main__":
    main()
