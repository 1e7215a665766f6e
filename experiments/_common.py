"""What the experiments share: options, the file of results, and how a claim is printed and kept."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from _data import target
from _zoo import encoder, zoo
from threadpoolctl import threadpool_limits

import transferability
from transferability import Task, TaskRelatedness
from transferability.datasets import split, stratified_sample
from transferability.encoders import Encoder
from transferability.features import extract_features
from transferability.pipeline import Split
from transferability.ranking.store import ResultStore, result_key
from transferability.relatedness.references import union_of
from transferability.scores import linear_probe
from transferability.validation.measure import data_identity, encoder_identity
from transferability.validation.settings import FineTuning

__all__ = ["DEFAULT", "FOLDS", "PAPERS", "TUNING", "Run", "halves", "options", "sampled"]

RESULTS = Path(__file__).parent / "results"
DEFAULT = TaskRelatedness()
PAPERS = TaskRelatedness(0.2, ground_cost="euclidean", scale=False)
"""The paper's cost and τ, without its Algorithm 1; in the reference's space, where the bound is certified."""
FOLDS = 5  # as `rank` has them below 2,000 rows
Reference = str | tuple[str, ...] | None
MANY_CLASSES = ("clinc150", "banking77")  # of which twice as many rows are fitted on
NUMBERS = (
    "bound", "fit_bound", "reference_loss", "label_mismatch", "distribution_mismatch", "transferred_loss",
    "transferred_accuracy", "transferability", "transferability_accuracy", "tau", "certified_tau", "certified",
)  # fmt: skip
TUNING = FineTuning(learning_rates=(3e-4, 3e-3), weight_decays=(1e-2,), epochs=10, choice_epochs=2, batch_size=32)


def options(description: str | None) -> argparse.Namespace:
    """Read what every experiment takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the files that _data.py describes")
    parser.add_argument("--quick", action="store_true", help="small samples and fewer encoders: minutes")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for JSON and PNG")
    parser.add_argument(
        "--stored-truth", action="store_true", help="fine-tuned accuracies from --out, where it has them"
    )
    parser.add_argument("--encoders", nargs="*", help="only these of the zoo: several shells may share the work")
    parser.add_argument("--device", default="cpu", help="where encoders compute; cuda fine-tunes at full input size")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "transferability-experiments")
    given = parser.parse_args()
    if given.device != "cpu":
        import torch

        torch.empty(1, device=given.device)  # fails now, and not after networks were pre-trained
    return given


@dataclass
class Run:
    """One experiment: encoders, tasks, work that is kept, claims."""

    name: str
    given: argparse.Namespace
    n_fit: int = 600
    n_test: int = 1000

    def __post_init__(self) -> None:
        self.quick: bool = self.given.quick
        if self.quick:
            self.n_fit, self.n_test = self.n_fit // 2, self.n_test // 2
        self.store = ResultStore(self.given.cache / "experiments.sqlite")
        self.seconds = 0.0  # of the work behind what was found, whenever it was done
        self.claims: list[dict[str, str]] = []
        self._parts: dict[str, Split] = {}
        self._encoders: dict[str, Encoder] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Encoders of the zoo that take part."""
        return tuple(name for name in zoo(self.quick) if not self.given.encoders or name in self.given.encoders)

    def chosen(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Return the encoders of texts that take part."""
        return tuple(name for name in texts[: 2 if self.quick else None] if name in (self.given.encoders or texts))

    def part(self, name: str) -> Split:
        """Return a data set with its rows."""
        if name not in self._parts:
            n_fit, n_test = self.n_fit, self.n_test
            if (self.given.data / f"{name}.parquet").exists():  # texts are slow to encode
                n_test = n_test // 2
            if name in MANY_CLASSES:
                n_fit = 2 * n_fit
            self._parts[name] = target(self.given.data, name, n_fit, n_test)
        return self._parts[name]

    def encoder(self, name: str) -> Encoder:
        """Return an encoder of the zoo, or of the library."""
        if name not in self._encoders:
            if ":" in name:
                from transferability.encoders import load_encoder

                self._encoders[name] = load_encoder(name, device=self.given.device)
            else:
                self._encoders[name] = encoder(name, self.given.data, self.given.cache, self.quick, self.given.device)
        return self._encoders[name]

    def add(self, name: str, part: Split) -> None:
        """Take a data set from elsewhere."""
        self._parts[name] = part

    def add_encoder(self, name: str, encoder: Encoder) -> None:
        """Take an encoder that is not of the zoo."""
        self._encoders[name] = encoder

    def tasks(self, name: str, data: str) -> tuple[Task, Task]:
        """Return the fitting and the test task of a data set under an encoder."""
        part = self.part(data)
        with threadpool_limits(1, "blas"):
            return part.tasks(extract_features(self.encoder(name), part.dataset))

    def kept(self, kind: str, name: str, data: str, work: Callable[[], dict[str, Any]], **parts: Any) -> dict[str, Any]:
        """Return what `work` returns, from the file of results if an earlier run got so far."""
        about = {"encoder": encoder_identity(self.encoder(name)), "data": data_identity(self.part(data))}
        key = result_key(kind, **about, **parts, code=_code())
        found = self.store.get(key)
        if found is None:
            started = time.process_time()
            result = work()
            self.store.put(key, kind, name, data, result, time.process_time() - started, failed=False)
            found = self.store.get(key)
        self.seconds += found.seconds
        return found.result

    def relatedness(
        self,
        name: str,
        data: str,
        references: Sequence[Reference],
        estimator: TaskRelatedness = DEFAULT,
        *,
        share: float = 1.0,
        labelled: bool = True,
        folds: int | None = FOLDS,
    ) -> list[dict[str, Any]]:
        """Return what each reference gives, one dict each.

        Only the target's fitting rows are seen, so that nothing predicts accuracies on rows it was measured on. With
        folds all of them measure, each by a fit without it, as in `rank`; without, seven tenths fit and the others
        measure. With a share, only so many of them. A reference is a data set, a tuple of several, which are then one
        (their union), or None, the target's own other half.
        """

        def work(reference: Reference) -> dict[str, Any]:
            started = time.process_time()
            task = sampled(self.tasks(name, data)[0], share)
            fit, test = halves(task) if folds is None else (task, None)
            if not labelled:
                fit = Task(fit.features, None, name=fit.name, class_names=fit.class_names)
            pairs = [self.tasks(name, each) for each in _members(reference)]
            if len(pairs) > 1:
                pairs = [union_of(pairs, standardize=estimator.standardize)]
            left, right = pairs[0] if pairs else (None, None)
            with threadpool_limits(1, "blas"):
                found = estimator.fit(left, fit, right, test, folds=folds)
            numbers = {key: getattr(found, key) for key in NUMBERS}
            return numbers | {"reference": found.reference, "seconds": time.process_time() - started}

        about = dict(vars(estimator))
        return [
            self.kept(
                "relatedness", name, data, partial(work, each), estimator=about, share=share, labelled=labelled,
                folds=folds, reference=[data_identity(self.part(member)) for member in _members(each)],
            )
            for each in references
        ]  # fmt: skip

    def probe(self, name: str, data: str) -> dict[str, float]:
        """Return loss and accuracy of a linear probe on the fitting rows of a data set, in five folds."""

        def work() -> dict[str, Any]:
            task = self.tasks(name, data)[0]
            with threadpool_limits(1, "blas"):
                found = linear_probe(task.features, task.labels, n_folds=FOLDS)
            return {"loss": found.loss, "accuracy": found.value}

        return self.kept("probe", name, data, work, folds=FOLDS)

    def claim(self, text: str, held: str, numbers: str) -> None:
        """Print a claim of the paper, whether it held ("held", "held in part", "did not hold"), and the numbers."""
        self.claims.append({"claim": text, "verdict": held, "numbers": numbers})
        print(f"\nCLAIM    {text}\nVERDICT  {held}\nNUMBERS  {numbers}", flush=True)

    def finish(self, rows: Iterable[dict[str, Any]], figure: Any = None, **more: Any) -> None:
        """Write JSON, and the figure as PNG."""
        name = f"{self.name}-quick" if self.quick else self.name
        folder: Path = self.given.out
        folder.mkdir(parents=True, exist_ok=True)
        found = {
            "experiment": self.name, "mode": "quick" if self.quick else "full", "claims": self.claims,
            "n_fit": self.n_fit, "n_test": self.n_test, "cpu_seconds": round(self.seconds, 1),
            **more, "rows": list(rows),
        }  # fmt: skip
        lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in _rounded(found.pop("rows")))
        head = json.dumps(_rounded(found), indent=1, ensure_ascii=False).removesuffix("\n}")
        (folder / f"{name}.json").write_text(f'{head},\n "rows": [\n  {lines}\n ]\n}}\n')  # a row a line
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=65)
        print(f"\n{folder / name}.json; CPU seconds of what it rests on: {self.seconds:.0f}", flush=True)


def sampled(task: Task, share: float) -> Task:
    """Return a share of the rows of a task with its class shares, at least four for each class."""
    if share == 1:
        return task
    labels = task.require_labels()
    return task.subset(stratified_sample(labels, len(task), max(int(share * len(task)), 4 * task.n_classes)))


def halves(task: Task) -> tuple[Task, Task]:
    """Return seven tenths of a task and the rest."""
    fit, test = split(task.require_labels(), 0.3)
    return task.subset(fit), task.subset(test)


def _members(reference: Reference) -> tuple[str, ...]:
    return (reference,) if isinstance(reference, str) else reference or ()


@cache
def _code() -> str:
    """Return a hash of the code that relates and scores: what an earlier state of it found is not taken up again."""
    package = Path(transferability.__file__).parent
    total = hashlib.sha256()
    for folder in ("relatedness", "scores", "statistics", "transport"):
        for path in sorted((package / folder).rglob("*.py")):
            total.update(path.read_bytes())
    return total.hexdigest()[:16]


def _rounded(value: Any) -> Any:
    """Return JSON values with five digits: more are noise, and files in a repository should be small."""
    if isinstance(value, dict):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return float(f"{value:.5g}") if isinstance(value, float) else value
