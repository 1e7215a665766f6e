"""`transferability score`: the field's scores of features in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferability.cli.options import JsonFlag, with_settings
from transferability.cli.output import EXIT_FAILED, EXIT_PARTIAL, notice, print_json, print_table
from transferability.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from transferability._files import Features
    from transferability.task import Task

__all__ = ["score"]

SCHEMA_VERSION = 1


def _list_scores(wanted: bool) -> None:
    if not wanted:
        return
    from transferability.scores import available

    rows = [
        (name, info.description, "higher" if info.higher_is_better else "lower", info.range, info.needs_in_words)
        for name, info in available().items()
    ]
    print_table("Scores", ("score", "what it is", "better", "range", "needs"), rows, left=5)
    raise typer.Exit


@with_settings(only=["seed"])
def score(
    *,
    data: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE", help="Feature file of the target, .npz or .safetensors: a path or features:FILE."
        ),
    ] = None,
    features: Annotated[str | None, typer.Option(help="Feature file of the target, in place of the argument.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Feature file of a labelled reference, from the same encoder.")
    ] = None,
    score: Annotated[
        list[str] | None, typer.Option(help="Score to compute; repeat. By default all that the file suffices for.")
    ] = None,
    parameters: Annotated[
        int | None, typer.Option(help="Number of parameters of the encoder, for the score size.", min=1)
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Ignore the labels; use pseudo-labels from --source.")
    ] = False,
    list_scores: Annotated[
        bool,
        typer.Option(
            "--list", is_eager=True, callback=_list_scores, help="List the scores and what each needs, and exit."
        ),
    ] = False,
    settings: Settings,
    json: JsonFlag = False,
) -> None:
    """Score a feature file: how well would its encoder do on these labels?

    The file holds features and labels and, for LEEP, NCE and two of PACTran's, source_probabilities; for EMMS,
    label_embeddings. With targets in place of labels (numbers to predict, or 0 and 1 for each of several labels), the
    scores that take targets are computed. Without both, pseudo-labels are taken from the relatedness to --source, and
    without that the scores that need no labels are computed: energy.

    Example: transferability score photos.npz --score logme --score h_score
    """
    from transferability._files import read_arrays, read_features
    from transferability.scores import ScoreInputs, available, compute_many

    names = score or ["all"]

    path = _feature_file([*(data or ()), *(() if features is None else [features])], "features")
    target = read_features(path)
    reference = None if source is None else read_features(_feature_file([source], "source")).task()
    bare = unlabelled or (target.labels is None and target.targets is None)
    pseudo = bare and _need_labels(names, all_of_them=reference is None)
    arrays = read_arrays(path)
    inputs = ScoreInputs(
        features=target.features,
        labels=_guess(target, reference, settings.seed) if pseudo else None if bare else target.labels,
        targets=None if bare else target.targets,
        source_probabilities=arrays.get("source_probabilities"),
        label_embeddings=arrays.get("label_embeddings"),
        reference=reference,
        n_parameters=parameters,
        pseudo_labels=pseudo,
        seed=settings.seed,
    )
    results, skipped = compute_many(names, inputs)

    if json:
        described = [{**result.to_dict(), "name": name} for name, result in results.items()]
        head = {"schema": SCHEMA_VERSION, "features": str(path), "pseudo_labels": pseudo}
        head["schema_version"] = SCHEMA_VERSION  # the name of `schema` up to version 0.2; it goes in version 0.4
        head["targets"] = inputs.labels is None and inputs.targets is not None
        shape = {"n_samples": len(target), "n_features": target.features.shape[1]}
        print_json({**head, **shape, "scores": described, "skipped": skipped})
    elif results:
        rows = [
            (name, f"{result.value:.6g}", "higher" if result.higher_is_better else "lower", " ".join(result.notes))
            for name, result in results.items()
        ]
        print_table(f"Scores of {path.name}", ("score", "value", "better", "notes"), rows)
    if inputs.labels is not None and target.targets is not None:
        notice("the file's targets are not used: it has labels too. Leave one of them out.")
    reasons: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        reasons.setdefault(available()[name].missing(inputs) or reason, []).append(name)
    for reason, left_out in reasons.items():
        notice(f"skipped {', '.join(left_out)}: {reason.rstrip('.')}.")
    if skipped and bare and not pseudo:
        notice("pseudo-labels are taken from labelled features of the same encoder: --source FILE.")
    # A score that nobody asked for by name, and whose inputs are not there, is no failure.
    failed = [name for name in skipped if name in names or available()[name].missing(inputs) is None]
    if not results:
        raise typer.Exit(EXIT_FAILED)
    if failed:
        raise typer.Exit(EXIT_PARTIAL)


def _need_labels(names: list[str], *, all_of_them: bool) -> bool:
    """Return whether any of these scores, or all of them, need labels; "all" asks for whatever can be computed."""
    from transferability.scores import available

    if "all" in names:
        return not all_of_them
    needs = ["labels" in available()[name].needs for name in names if name in available()]
    return bool(needs) and (all if all_of_them else any)(needs)


def _feature_file(given: list[str], argument: str) -> Path:
    """Return the path of the one feature file that is named.

    Raises
    ------
    OptionError
        If there is none, more than one, or if it holds pictures or texts.
    """
    from transferability._files import HOW_TO_SAVE
    from transferability.errors import OptionError

    if len(given) != 1:
        found = f"{len(given)}: {', '.join(given)}" if given else "nothing"
        message = f"`{argument}` must be one feature file, .npz or .safetensors; got {found}. Write: "
        raise OptionError(message + "transferability score FILE")
    path = Path(given[0].removeprefix("features:")).expanduser()
    if path.is_dir() or path.suffix.lower() not in (".npz", ".safetensors"):
        message = f"`{argument}` must be a feature file, .npz or .safetensors; got {given[0]!r}. `transferability rank "
        message += f"{given[0]} --score all` scores encoders on pictures and texts; `transferability extract` writes "
        if path.suffix.lower() in (".npy", ".pt", ".pth", ".pkl"):
            message = f"`{argument}` must be a feature file, .npz or .safetensors; got {given[0]!r}. {HOW_TO_SAVE}"
            raise OptionError(message)
        raise OptionError(message + "feature files.")
    return path


def _guess(target: Features, reference: Task | None, seed: int) -> np.ndarray[Any, Any] | None:
    """Return the pseudo-labels of task-relatedness."""
    from transferability.errors import TaskError
    from transferability.relatedness.estimator import TaskRelatedness
    from transferability.task import Task as TaskType

    if reference is None:
        message = "without labels, `--source` must name labelled features of the same encoder, to guess labels from."
        raise TaskError(message)
    unlabelled = TaskType(target.features, None, target.name, target.class_names)
    return TaskRelatedness(seed=seed).fit(reference, unlabelled).pseudo_labels
