"""Accuracies beside what was said before, and how far the two agree."""

from __future__ import annotations

import json
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import scipy.stats

from transferability.agreement import agreement
from transferability.cli import validate as cli
from transferability.datasets.arrays import picture_arrays
from transferability.encoders.function import FunctionEncoder
from transferability.errors import TaskError, UnknownNameError
from transferability.pipeline import Settings, rank
from transferability.ranking.result import ScoreColumn
from transferability.ranking.store import ResultStore
from transferability.validation.result import Observation, Validation
from transferability.validation.settings import FineTuning
from transferability.validation.validate import validate

mpl.use("Agg")
TUNING = FineTuning(learning_rates=(1e-2,), weight_decays=(1e-4,), epochs=1, choice_epochs=1)
COLUMNS = (ScoreColumn("bound", False), ScoreColumn("logme", True), ScoreColumn("size", True))


def made(n_encoders=6, seed=0) -> Validation:
    rng = np.random.default_rng(seed)
    observations = []
    for target in ("a", "b"):
        for k in range(n_encoders):
            accuracy = 0.5 + 0.05 * k + 0.02 * rng.normal()
            values = {"bound": 3 - accuracy + 0.03 * rng.normal(), "logme": float(rng.normal()), "size": 7.0}
            observations.append(Observation(f"e{k}", target, (accuracy - 0.01, accuracy + 0.01), values))
    return Validation("finetune", tuple(observations), COLUMNS)


def test_the_mean_is_that_of_the_targets_in_the_direction_of_the_score() -> None:
    found = made()
    first = found.means[0]
    assert first.criterion == "bound"
    each = [found.agreement("bound", target) for target in ("a", "b")]
    np.testing.assert_allclose(first.pearson.value, np.mean([one.pearson.value for one in each]))
    np.testing.assert_allclose(first.kendall.value, np.mean([one.kendall.value for one in each]))
    np.testing.assert_allclose(first.regret.value, np.mean([one.regret.value for one in each]))
    bounds, accuracies = found.pairs("bound", "a")
    np.testing.assert_allclose(each[0].kendall.value, scipy.stats.kendalltau(-bounds, accuracies).statistic)
    assert each[0] == agreement(bounds, accuracies, higher_is_better=False)
    assert first.pearson.low <= first.pearson.value <= first.pearson.high


def test_a_score_that_is_the_same_for_all_has_no_agreement() -> None:
    assert [each.criterion for each in made().means] == ["bound", "logme"]  # sizes are all alike
    assert made().agreement("size", "a") is None


def test_a_score_unknown_for_an_encoder_leaves_the_others() -> None:
    whole = made()
    first, *rest = whole.observations
    part = Validation("probe", (Observation(first.encoder, "a", first.accuracies, {"logme": 0.0}), *rest), COLUMNS)
    assert len(part.pairs("bound", "a")[0]) == 5
    assert part.frame()[0]["bound"] is None
    assert part.means[0].n_targets == 2


def test_fewer_than_three_encoders_tell_nothing() -> None:
    found = made(n_encoders=2)
    assert found.means == ()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["mean_agreement"] == []


@pytest.mark.parametrize(("n_encoders", "known"), [(3, False), (4, False), (5, True)])
def test_of_fewer_than_five_encoders_there_is_no_interval(n_encoders, known, capsys) -> None:
    """Resamples of so few that vary on all targets are nearly all alike: the value was at an end of its interval."""
    found = made(n_encoders)
    first, *_ = json.loads(json.dumps(found.to_dict(), allow_nan=False))["mean_agreement"]
    for name in ("pearson", "kendall", "regret"):
        assert [first[name][end] is not None for end in ("low", "high")] == [known, known]
    cli._show(found)
    printed = capsys.readouterr()
    assert ("[" in printed.out.partition("Agreement")[2]) is known
    assert (
        "no interval: five encoders or more are needed on each target" in " ".join(printed.err.split())
    ) is not known


def test_every_target_needs_five_encoders_for_an_interval(capsys) -> None:
    whole = made()
    few = [each for each in whole.observations if each.target == "a" or each.encoder < "e4"]
    lacking = [replace(each, values={"logme": each.values["logme"]}) for each in whole.observations if each not in few]
    found = Validation("probe", (*few, *lacking), COLUMNS)
    means = {each.criterion: each.kendall for each in found.means}
    assert [means[name].low is None for name in ("bound", "logme")] == [True, False]
    cli._show(found)
    printed = capsys.readouterr()
    assert "[95 % of resampled encoders]" in " ".join(printed.out.split())
    assert "no interval of bound: five encoders" in " ".join(printed.err.split())


def test_the_plot_shows_every_encoder_of_every_target() -> None:
    found = made()
    ax = found.plot()  # the first column
    assert ax.get_xlabel() == "bound"
    assert [len(each.get_offsets()) for each in ax.collections] == [6, 6]
    np.testing.assert_allclose(ax.collections[1].get_offsets()[:, 0], found.pairs("bound", "b")[0])  # type: ignore[index]
    with pytest.raises(UnknownNameError, match="'bound'"):
        found.plot("bond")


def test_the_whole_with_an_encoder_that_cannot_be_trained(make_encoder, make_data, tmp_path) -> None:
    store = ResultStore(tmp_path / "study.sqlite")
    unable = FunctionEncoder("flat", lambda items: np.stack([np.asarray(e, float)[:, :, 0].ravel() for e in items]))
    encoders = [make_encoder("a"), make_encoder("b", width=4), unable]
    targets = [make_data("one"), make_data("two", seed=1)]

    def run(encoders):
        return validate(
            encoders, targets, seeds=[0], scores=["logme"], settings=Settings(cache=False), tuning=TUNING, store=store
        )

    found = run(encoders)
    assert {(each.encoder, each.target) for each in found.observations} == {
        (encoder, target) for encoder in "ab" for target in ("one", "two")
    }
    assert [each.encoder for each in found.skipped] == ["flat on one", "flat on two"]
    names = ["transferred_accuracy", "transferred_loss", "bound", "logme", "size"]
    assert all(list(each.values) == names for each in found.observations)
    assert [column.name for column in found.columns] == names
    assert [column.higher_is_better for column in found.columns[:3]] == [True, False, False]
    assert found.observations[0].values["size"] == np.log10(encoders[0].n_parameters)
    assert {row.kind for row in store.results()} == {"scores", "finetune", "finetune-choice"}
    n_rows = len(store.results())
    again = run([make_encoder("a"), make_encoder("b", width=4), unable])
    assert again.observations == found.observations
    assert len(store.results()) == n_rows  # nothing was computed twice


def test_the_reference_of_one_target_is_its_own_other_half(make_encoder, make_data, tmp_path) -> None:
    settings = Settings(cache=False, folds=1)
    store = ResultStore(tmp_path / "results.sqlite")
    found = validate(
        [make_encoder()], [make_data()], method="probe", seeds=[0], scores=["logme", "otce"],
        settings=settings, store=store,
    )  # fmt: skip
    values = found.observations[0].values
    ranked = rank(make_data(), None, [make_encoder()], settings=settings, packs=False)[0]
    assert values["transferred_accuracy"] == ranked.relatedness.transferred_accuracy
    assert values["bound"] >= values["transferred_loss"]
    assert values.keys() == {"transferred_accuracy", "transferred_loss", "bound", "logme", "size"}
    assert found.observations[0].notes == ()
    assert (found.observations[0].n_fit, found.observations[0].n_test) == (56, 24)
    assert found.to_dict()["observations"][0]["n_fit"] == 56
    names = ["transferred_accuracy", "transferred_loss", "bound", "logme", "otce", "size"]
    assert [column.name for column in found.columns] == names


def test_a_class_too_small_for_two_halves_leaves_the_scores_and_a_note(make_encoder) -> None:
    pixels = np.random.default_rng(0).random((44, 8, 8), dtype=np.float32)
    few = picture_arrays("few", pixels, np.repeat([0, 1], [4, 40]), ["a", "b"], "few")  # three of a to fit on
    settings = Settings(cache=False)
    found = validate([make_encoder()], [few], method="probe", seeds=[0], scores=["logme"], settings=settings)
    assert found.observations[0].values.keys() == {"logme", "size"}
    assert "fewer than 4 fitting rows" in found.observations[0].notes[0]


def test_nothing_measured_is_an_error_that_says_why(make_data) -> None:
    flat = FunctionEncoder("flat", lambda items: np.stack([np.asarray(e, float)[:, :, 0].ravel() for e in items]))
    with pytest.raises(TaskError, match=r"no encoder could be measured. flat on stripes: .*cannot be fine-tuned"):
        validate([flat], [make_data()], scores=["size"], settings=Settings(cache=False))


def test_what_fine_tuning_did_to_the_probe_is_said_of_every_encoder(make_encoder, make_data, capsys) -> None:
    """No epoch at a rate of 1e-9 is better than the probe: what is measured is the probe, and that is said."""
    useless = FineTuning(
        learning_rates=(1e-9,), frozen_norms=(True,), head_starts=("probe",), epochs=1, choice_epochs=1
    )
    found = validate(
        [make_encoder()], [make_data()], seeds=(0, 3), scores=("logme",), tuning=useless, settings=Settings(cache=False)
    )
    (each,) = found.observations
    assert len(each.probe_accuracies) == 2
    assert each.probe_accuracy == pytest.approx(each.accuracy, abs=0.05)
    assert [note.split(":")[0] for note in each.notes] == ["seed 0", "seed 3"]
    assert "this is the probe" in each.notes[0]
    (row,) = found.frame()
    assert row["probe_accuracy"] == each.probe_accuracy
    assert "this is the probe" in row["notes"]
    written = json.loads(json.dumps(found.to_dict()))["observations"][0]
    assert (written["probe_accuracy"], written["notes"]) == (each.probe_accuracy, list(each.notes))
    cli._show(found)
    out, err = capsys.readouterr()
    assert "linear probe" in out
    assert "this is the probe" in " ".join(err.split())
    cli._show(made())
    assert "linear probe" not in capsys.readouterr().out


def test_a_run_that_fails_late_leaves_the_others(make_encoder, make_data, monkeypatch, capsys) -> None:
    """The second of three seeds fails: the accuracy is the mean of the others, and both is said."""
    from transferability.validation.finetune import FineTuner

    real = FineTuner.run

    def run(self, chosen, seed, **options):
        if seed == failing:
            message = "no memory."
            raise TaskError(message)
        return real(self, chosen, seed, **options)

    monkeypatch.setattr(FineTuner, "run", run)
    options = {"scores": ["logme"], "tuning": TUNING, "settings": Settings(cache=False)}
    failing = 4
    found = validate([make_encoder()], [make_data()], seeds=(3, 4, 5), **options)
    (each,) = found.observations
    assert len(each.accuracies) == 2
    assert each.notes[-1] == "seed 4: this run failed, and the accuracy is that of 2 of 3 runs."
    assert [(one.encoder, one.reason) for one in found.skipped] == [("tiny on stripes, seed 4", "no memory.")]
    cli._show(found)
    assert "seed 4: this run failed" in " ".join(capsys.readouterr().err.split())
    failing = 3
    with pytest.raises(TaskError, match="no memory"):
        validate([make_encoder()], [make_data()], seeds=(3, 4), **options)


def test_the_probe_beside_fine_tuning_and_the_score_have_two_names(capsys) -> None:
    values = {"linear_probe": 0.7, "logme": 0.1}
    each = Observation("e", "t", (0.9,), values, (0.8,))
    columns = (ScoreColumn("linear_probe", True), ScoreColumn("logme", True))
    cli._show(Validation("finetune", (each,), columns))
    title = capsys.readouterr().out.splitlines()[1].replace("_", " ")
    assert title.count("linear probe") == 2
    assert "linear probe, test rows" in title
