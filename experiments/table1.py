"""Table 1 and Fig. 11: does task-relatedness predict the accuracy after end-to-end fine-tuning, as well as others?

The zoo of `_zoo.py` on six targets; the panel of references are CIFAR-10, MNIST and Fashion-MNIST. Bound and scores
see the fitting rows of the target, and nothing of the rows that accuracies are measured on. The default is that of
`rank`, in five folds; the paper's form is on one split. Criteria are chosen on one half of the targets, and the verdict
is read on the other.

    python experiments/table1.py --data FOLDER [--quick]

Fine-tunes what `finetune_zoo.py` has not fine-tuned yet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import DEFAULT, FOLDS, PAPERS, Run, halves, options
from _zoo import PANEL, TARGETS
from finetune_zoo import SEEDS, accuracies
from scipy.special import softmax
from scipy.stats import pearsonr
from threadpoolctl import threadpool_limits

from transferability import TaskRelatedness
from transferability.agreement import Estimate
from transferability.ranking.result import ScoreColumn
from transferability.scores.registry import ScoreInputs, available, compute_many
from transferability.validation.result import Observation, Validation

CHOICE = ("cifar10", "mnist", "omniglot_alphabet")
VERDICT = ("fashion_mnist", "mnist_m_cifar", "sign_digits")
SETTINGS: dict[str, tuple[TaskRelatedness, int | None]] = {  # and folds
    "default": (DEFAULT, FOLDS),
    "paper's form": (PAPERS, None),
}
BOUND, FORM = "default", "paper's form"
CRITERION = f"{BOUND}: transferred accuracy"  # what `rank` sorts by


def predictions(run: Run, name: str, target: str) -> dict[str, float]:
    """Return what each setting and score says before fine-tuning."""
    panel = [each for each in PANEL if each != target]
    values: dict[str, float] = {}
    for setting, (estimator, folds) in SETTINGS.items():
        found = run.relatedness(name, target, panel, estimator, folds=folds)
        best = min(found, key=lambda each: each["bound"])
        values[setting] = best["bound"]
        values[f"{setting}: mean of the panel"] = float(np.mean([each["bound"] for each in found]))
        values[f"{setting}: cifar10 alone"] = next(
            (each["bound"] for each in found if each["reference"] == "cifar10"), float("nan")
        )
        values[f"{setting}: transferred loss"] = best["transferred_loss"]
        values[f"{setting}: transferred accuracy"] = best["transferred_accuracy"]
        values[f"{setting}: largest transferred accuracy"] = max(each["transferred_accuracy"] for each in found)
    values |= run.kept("scores", name, target, lambda: scored(run, name, target, panel), panel=panel, layout=3)
    return {key: value for key, value in values.items() if np.isfinite(value)}


def rises(criterion: str) -> bool:
    """Whether more is better of what relatedness says."""
    return "accuracy" in criterion


def observe(run: Run, name: str, target: str, values: dict[str, float]) -> Observation:
    """Return what was said, with the accuracies."""
    seeds = SEEDS[:1] if run.quick else known_seeds(run, name, target)
    return Observation(name, target, tuple(accuracies(run, name, target, seeds)), values)


def known_seeds(run: Run, name: str, target: str) -> tuple[int, ...]:
    """Return the seeds that were run; the first if none was."""
    if run.given.stored_truth:
        return SEEDS
    rows = [each for each in run.store.results("finetune") if (each.encoder, each.target) == (name, target)]
    sure = {each.result["seed"] for each in rows if each.result["settings"]["epochs"] == 10}
    return tuple(seed for seed in SEEDS if seed in sure) or SEEDS[:1]


def scored(run: Run, name: str, target: str, panel: list[str]) -> dict[str, float]:
    """Return the other scores; source classes are those of the reference whose bound is smallest."""
    found = run.relatedness(name, target, panel)
    nearest = min(found, key=lambda each: each["bound"])["reference"]
    task, (reference, _) = run.tasks(name, target)[0], run.tasks(name, nearest)
    with threadpool_limits(1, "blas"):
        fitted = DEFAULT.fit(reference, halves(task)[0])
        logits = fitted.reference_classifier.logits(fitted.transform.reference_scaler.apply(task.features))
        inputs = ScoreInputs(
            task.features, task.labels, softmax(logits, axis=1), reference, run.encoder(name).n_parameters
        )
        results, _ = compute_many(["all"], inputs)
    return {key: float(value) for key, value in results.items() if np.isfinite(float(value))}


def only(found: Validation, targets: tuple[str, ...]) -> Validation:
    """Return what was seen of some targets."""
    return Validation(found.method, tuple(o for o in found.observations if o.target in targets), found.columns)


def cell(found: Estimate) -> str:
    """Return a value with its interval, where there is one."""
    if found.low is None or found.high is None:
        return f"{found.value:+.2f}"
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def table(found: Validation) -> list[dict[str, Any]]:
    """Print and return the mean agreement of each criterion, best first."""
    rows = []
    for each in found.means:
        numbers = {"pearson": each.pearson, "kendall": each.kendall, "regret": each.regret}
        rows.append({"criterion": each.criterion} | {key: vars(value) for key, value in numbers.items()})
        print(f"{each.criterion:42}", *(f"{cell(value):>24}" for value in numbers.values()))
    return rows


def main() -> None:
    """Measure, compare, conclude."""
    run = Run("table1", options(__doc__))
    names = list(run.names)
    said = {}
    for name in names:
        said[name] = {target: predictions(run, name, target) for target in TARGETS}
        print(f"{name}: {', '.join(f'{each[CRITERION]:.2f}' for each in said[name].values())} predicted", flush=True)
    observations = []
    for name in names:
        observations += [observe(run, name, target, values) for target, values in said[name].items()]
        print(
            f"{name}: {', '.join(f'{each.accuracy:.3f}' for each in observations[-len(TARGETS) :])} fine-tuned",
            flush=True,
        )
    criteria = dict.fromkeys(key for each in observations for key in each.values)
    known = available()
    columns = tuple(
        ScoreColumn(each, known[each].higher_is_better if each in known else rises(each)) for each in criteria
    )
    found = Validation("finetune", tuple(observations), columns)
    parts = {}
    for title, targets in (("all targets", TARGETS), ("choice", CHOICE), ("verdict", VERDICT)):
        print(f"\n{title}: Pearson, Kendall, top-1 regret; +1 is perfect whatever the direction")
        parts[title] = table(only(found, targets))
    convnets = tuple(each for each in observations if each.encoder.startswith("conv"))
    print("\nall targets, ConvNets alone")
    parts["ConvNets alone"] = table(Validation("finetune", convnets, columns))
    conclude(run, parts)
    conclude_per_encoder(run, observations)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for criterion, ax in zip((CRITERION, BOUND, FORM), axes, strict=True):
        found.plot(criterion, ax)
    run.finish(found.frame(), figure, agreement=parts, encoders=names, targets=list(TARGETS))


def conclude(run: Run, parts: dict[str, list[dict[str, Any]]]) -> None:
    """Judge the paper's claims."""

    def pearson(part: str, name: str) -> float:
        return next(each["pearson"]["value"] for each in parts[part] if each["criterion"] == name)

    others = [each for each in available() if each != "size"]
    ours = [each["criterion"] for each in parts["choice"] if each["criterion"].startswith(tuple(SETTINGS))]
    chosen = max(ours, key=lambda each: pearson("choice", each))
    asked = [(part, criterion) for criterion in (CRITERION, BOUND) for part in ("all targets", "verdict")]
    for part, criterion in dict.fromkeys([*asked, ("verdict", chosen)]):
        own = pearson(part, criterion)
        best = max((each for each in parts[part] if each["criterion"] in others), key=lambda e: e["pearson"]["value"])
        size = pearson(part, "size")
        ahead = own >= max(best["pearson"]["value"], size)
        run.claim(
            f"Table 1: task-relatedness (|r| ≥ 0.82) predicts accuracy, no other better [{part}; {criterion}]",
            "held" if own >= 0.82 and ahead else "held in part" if own >= 0.82 or ahead else "did not hold",
            f"{criterion} {own:+.2f}; best other score {best['criterion']} {best['pearson']['value']:+.2f}; "
            f"size {size:+.2f}; the paper's form {pearson(part, FORM):+.2f}",
        )


def conclude_per_encoder(run: Run, observations: list[Observation]) -> None:
    """Judge Fig. 11: one encoder, several targets."""
    said, held = [], []
    for criterion in (CRITERION, BOUND, FORM):
        found = []
        for name in dict.fromkeys(each.encoder for each in observations):
            mine = [each for each in observations if each.encoder == name]
            sign = 1 if rises(criterion) else -1
            said_of = [each.values[criterion] for each in mine]
            found.append(sign * pearsonr(said_of, [each.accuracy for each in mine])[0])
        held.append(min(found) >= 0.57)
        said.append(
            f"{criterion}: mean {np.mean(found):+.2f}, smallest {min(found):+.2f}, at least 0.57 for "
            f"{sum(r >= 0.57 for r in found)} of {len(found)} encoders"
        )
    run.claim(
        "Fig. 11: for one encoder, targets with a smaller bound are fine-tuned to a higher accuracy (r ≥ 0.57 each)",
        "held" if all(held) else "held in part" if any(held) else "did not hold",
        "; ".join(said),
    )


if __name__ == "__main__":
    main()
