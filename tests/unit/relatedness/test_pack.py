"""Reference packs: made, merged, written, read, and refused where they are damaged or hostile."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors import safe_open
from safetensors.numpy import save_file

from transferability import Task
from transferability.errors import DatasetError, FileDamagedError, LabelError, OptionError, TaskError
from transferability.relatedness.certificate import losses_of
from transferability.relatedness.packs.pack import EncoderFingerprint, ReferencePack, scaler_of
from transferability.relatedness.tasks.standardize import Scaler

MARK = EncoderFingerprint("python:own:encode", "ab" * 32)


def task(seed: int = 0, n: int = 60) -> Task:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return Task(5 + 2 * np.eye(3, 6)[y] + rng.normal(size=(n, 6)), y, name="toy", class_names=["a", "b", "c"])


@pytest.fixture(scope="module")
def pack() -> ReferencePack:
    return ReferencePack.from_task(task(), task(1), tau=(0.5, 1.0), rank=2, encoder=MARK, provenance={"data": "toy"})


def test_made_of_a_task(pack: ReferencePack) -> None:
    assert (len(pack), pack.n_classes, pack.n_features, pack.class_names) == (120, 3, 6, ("a", "b", "c"))
    assert [head.tau for head in pack.heads] == [0.5, 1.0]
    for head in pack.heads:  # losses are those of the test part
        test = task(1)
        losses = losses_of(head.classifier.logits(pack.scaler.apply(test.features)), test.require_labels())
        assert_allclose(head.losses, [losses[test.require_labels() == c].mean() for c in range(3)], rtol=1e-12)
        assert head.classifier.certified_tau <= head.tau * (1 + 1e-12)
    both = np.concatenate([task().features, task(1).features])
    assert_allclose(pack.statistics.mean(), both.mean(axis=0), rtol=1e-12)


def test_tau_auto_holds_the_usual_one_and_a_walk() -> None:
    pack = ReferencePack.from_task(task())
    assert_allclose([head.tau for head in pack.heads], sorted([0.2, *(32 / np.sqrt(6) * np.array([0.25, 0.5, 1]))]))


def test_written_and_read_is_the_same(pack: ReferencePack, tmp_path: Path) -> None:
    path = pack.save(tmp_path / "new" / "toy.safetensors")
    back = ReferencePack.load(path)
    assert (back.name, back.class_names, back.encoder, back.provenance) == (
        "toy",
        ("a", "b", "c"),
        MARK,
        {"data": "toy"},
    )
    for name in ("counts", "means", "diagonals", "pooled", "sketches"):
        assert_array_equal(getattr(back.statistics, name), getattr(pack.statistics, name))
    assert back.statistics.scatters is None
    assert_array_equal(back.scaler.scale, pack.scaler.scale)
    assert back.scaler.limit == pack.scaler.limit
    for ours, theirs in zip(pack.heads, back.heads, strict=True):
        assert ours.tau == theirs.tau
        assert_array_equal(ours.losses, theirs.losses)
        assert_array_equal(ours.classifier.weights, theirs.classifier.weights)
        assert (ours.classifier.gap, ours.classifier.certified_tau) == (
            theirs.classifier.gap,
            theirs.classifier.certified_tau,
        )
    assert [each.name for each in path.parent.iterdir()] == ["toy.safetensors"]  # nothing temporary is left


@pytest.mark.parametrize("form", ["full", "shared"])
def test_other_forms_and_no_standardisation_come_back(form: str, tmp_path: Path) -> None:
    made = ReferencePack.from_task(task(), tau=1.0, covariance=form, standardize=False)
    back = ReferencePack.load(made.save(tmp_path / "pack.safetensors"))
    assert back.statistics.form == form
    assert back.scaler.limit == np.inf
    assert back.encoder is None
    assert_array_equal(back.gaussians().covariance(1), made.gaussians().covariance(1))


def test_size_is_as_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    K, d, r = 7, 64, 4
    x, y = rng.normal(size=(210, d)), np.arange(210) % K
    for form, wanted in (
        ("shared", d * d + 2 * K * d),
        ("low-rank", d * d + 2 * K * d + K * d * r),
        ("full", K * d * d),
    ):
        made = ReferencePack.from_task(Task(x, y), tau=1.0, covariance=form, rank=r, rows=0)
        size = made.save(tmp_path / "pack.safetensors").stat().st_size
        classifier = 8 * K * d
        assert 8 * wanted < size < 1.2 * (8 * wanted + classifier) + 4000


class TestMerge:
    def test_is_exact(self) -> None:
        whole = task(0, 90)
        parts = [ReferencePack.from_task(whole.subset(rows), tau=1.0) for rows in np.split(np.arange(90), [30, 45])]
        wanted = ReferencePack.from_task(whole, tau=1.0)
        for a, b, c in ((0, 1, 2), (2, 0, 1)):
            merged = parts[a].merge(parts[b]).merge(parts[c])
            assert len(merged) == 90
            assert merged.heads == ()
            for name in ("means", "diagonals", "pooled", "sketches"):
                assert_allclose(
                    getattr(merged.statistics, name), getattr(wanted.statistics, name), rtol=1e-10, atol=1e-9
                )
            assert_allclose(merged.scaler.mean, wanted.scaler.mean, rtol=1e-10)
            assert_allclose(merged.scaler.scale, wanted.scaler.scale, rtol=1e-10)

    def test_keeps_a_common_classifier(self) -> None:
        one = ReferencePack.from_task(task(), tau=1.0)
        other = ReferencePack(one.name, one.statistics, one.scaler, one.heads, one.class_names)
        merged = one.merge(other)
        assert_allclose(merged.heads[0].losses, one.heads[0].losses, rtol=1e-14)
        assert_array_equal(merged.heads[0].classifier.weights, one.heads[0].classifier.weights)

    def test_refuses_strangers(self) -> None:
        one = ReferencePack.from_task(task(), tau=1.0, encoder=MARK)
        with pytest.raises(TaskError, match=r"one encoder; got 'python:own:encode' \(abab.*'other' \(cdcd"):
            one.merge(ReferencePack.from_task(task(1), tau=1.0, encoder=EncoderFingerprint("other", "cd" * 32)))
        named = Task(task().features, task().labels, class_names=["x", "y", "z"])
        with pytest.raises(TaskError, match="same classes"):
            one.merge(ReferencePack.from_task(named, tau=1.0, encoder=MARK))


def test_standardisation_from_statistics() -> None:
    x = task().features.copy()
    x[:, 2], x[:, 3], x[:, 4] = 7.0, 0.0, -1e5
    made = ReferencePack.from_task(Task(x, task().labels), tau=1.0)
    wanted = Scaler.fit(x)
    found = scaler_of(made.statistics)
    assert_allclose(found.mean, wanted.mean, rtol=1e-12)
    assert_allclose(found.scale, wanted.scale, rtol=1e-9)


class TestMarks:
    def test_the_device_and_versions_beside_weights_do_not_count(self) -> None:
        one = {"source": "x", "weights": "1", "device": "cpu", "versions": {"torch": "1"}}
        other = one | {"device": "cuda", "versions": {"torch": "2"}}
        assert EncoderFingerprint.of("x", one) == EncoderFingerprint.of("x", other)
        assert EncoderFingerprint.of("x", one) != EncoderFingerprint.of("x", one | {"weights": "2"})

    def test_versions_count_where_nothing_else_tells_the_weights(self) -> None:
        one, other = ({"source": "x", "versions": {"package": version}} for version in "12")
        assert not EncoderFingerprint.of("x", one).fits(EncoderFingerprint.of("x", other))

    def test_names_decide_where_nobody_can_tell(self) -> None:
        assert EncoderFingerprint("x", None).fits(EncoderFingerprint("x", None))
        assert not EncoderFingerprint("x", None).fits(EncoderFingerprint("y", None))
        assert not EncoderFingerprint("x", None).fits(EncoderFingerprint("x", "ab"))
        assert EncoderFingerprint("x", "ab").fits(EncoderFingerprint("elsewhere/x", "ab"))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((Task(np.eye(4)),), {}, LabelError, "labels"),
        ((task(), Task(np.eye(4), [0, 1, 0, 1])), {}, TaskError, "6 features"),
        ((task(),), {"tau": 0}, OptionError, "tau"),
        ((task(),), {"covariance": "none"}, OptionError, "covariance"),
        ((np.eye(4),), {}, TaskError, "type Task"),
    ],
)
def test_what_cannot_be_a_pack(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ReferencePack.from_task(*arguments, **options)


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def _set(name: str, value: Any) -> Change:
    return lambda arrays, about: arrays.update({name: value(arrays[name])})


def _poke(name: str, value: float) -> Change:
    def change(arrays: dict[str, Any], about: dict[str, Any]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name].flat[1] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, about: about.update(schema=7), "schema 7, and this version reads 1 and 2"),
        (lambda arrays, about: about.update(holds="transform"), "does not say that it is one"),
        (lambda arrays, about: about.clear(), "does not say that it is one"),
        (lambda arrays, about: about.pop("encoder"), "'encoder' is missing"),
        (lambda arrays, about: about.update(heads=[3]), "damaged"),
        (lambda arrays, about: about.update(heads=about["heads"] * 2), "'weights_2' is missing"),
        (lambda arrays, about: about.update(class_names=["a"]), "1 class names for 3 classes"),
        (lambda arrays, about: about.update(provenance=3), "damaged"),
        (lambda arrays, about: about["heads"][0].update(tau=0.1), "Lipschitz constant"),
        (lambda arrays, about: about["heads"][0].update(certified_tau=float("nan")), "Lipschitz constant"),
        (lambda arrays, about: arrays.pop("pooled"), "'pooled' is missing"),
        (_poke("means", np.nan), "`means` holds values that are not finite"),
        (_poke("sketches", np.inf), "`sketches` holds values that are not finite"),
        (_poke("weights_0", 1e200), "`weights_0` holds values"),
        (_poke("diagonals", -1.0), "`diagonals` holds values"),
        (_poke("losses_0", -1.0), "`losses_0` holds values"),
        (_poke("scaler_scale", 0.0), "`scaler_scale` holds values"),
        (_poke("diagonals", 1e6), "not the sum of `diagonals`"),
        (_set("diagonals", lambda a: a * (1 + 1e-4)), "not the sum of `diagonals`"),
        (_set("counts", lambda a: a.astype(float)), "`counts` must be"),
        (_set("counts", lambda a: -a), "`counts` must be"),
        (_set("counts", lambda a: a[:1]), "`counts` must be"),
        (_set("counts", lambda a: a[:2]), r"3 class names for 2 classes"),
        (_poke("logits_0", np.nan), "`logits_0` holds values that are not finite"),
        (_set("logits_0", lambda a: a[:, :2]), "`logits_0` must be float32 of shape"),
        (_set("rows_0", lambda a: a.astype(np.int64)), "`rows_0` must be the classes of rows"),
        (_set("rows_0", lambda a: np.zeros_like(a)), "`rows_0` must be the classes of rows, int32 from 0 to 2, each"),
        (_set("rows_0", lambda a: -a), "`rows_0` must be"),
        (_set("means", lambda a: a.astype(np.float32)), "`means` must be float64"),
        (_set("means", lambda a: a[:, :5]), "must be float64 of shape"),
        (_set("means", lambda a: a.ravel()), "where features were expected"),
        (_set("pooled", lambda a: a[:5]), "`pooled` must be float64 of shape"),
        (_set("sketches", lambda a: a[:, :, :0]), "where features were expected"),
        (_set("intercept_1", lambda a: a[:2]), "`intercept_1` must be float64 of shape"),
    ],
)
def test_hostile_files(pack: ReferencePack, tmp_path: Path, change: Change, message: str) -> None:
    path = pack.save(tmp_path / "pack.safetensors")
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()["transferability"])
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    change(arrays, about)
    save_file(arrays, path, metadata={"transferability": json.dumps(about)})
    with pytest.raises(FileDamagedError, match=message) as error:
        ReferencePack.load(path)
    assert str(error.value).startswith(f"file {path} is damaged or no reference pack")
    assert str(error.value).endswith("Make or copy it again.")


@pytest.mark.parametrize("length", [0, 7, 100, 2000, -1])
def test_truncated_files(pack: ReferencePack, tmp_path: Path, length: int) -> None:
    path = pack.save(tmp_path / "pack.safetensors")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FileDamagedError, match="damaged or not a reference pack"):
        ReferencePack.load(path)


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "pack.safetensors"
    with pytest.raises(DatasetError, match="no file"):
        ReferencePack.load(path)
    with pytest.raises(DatasetError, match="not a file"):
        ReferencePack.load(tmp_path)
    save_file({"features": np.eye(3)}, path)
    with pytest.raises(FileDamagedError, match="does not say that it is one"):
        ReferencePack.load(path)
    save_file({"features": np.eye(3)}, path, metadata={"transferability": "{not json"})
    with pytest.raises(FileDamagedError, match="damaged"):
        ReferencePack.load(path)
    save_file({"features": np.eye(3)}, path, metadata={"transferability": "[" * 100_000})
    with pytest.raises(FileDamagedError, match="damaged"):
        ReferencePack.load(path)


def test_merged_losses_are_weighted_by_the_rows_of_each_class() -> None:
    whole = task()
    one = ReferencePack.from_task(whole, tau=0.5)
    few = ReferencePack.from_task(whole.subset(np.arange(30)), tau=0.5)
    other_losses = one.heads[0].losses + 1.0
    other = dataclasses.replace(few, heads=(one.heads[0]._replace(losses=other_losses),), scaler=one.scaler)
    merged = one.merge(other)
    ours, theirs = one.statistics.counts, other.statistics.counts
    wanted = (ours * one.heads[0].losses + theirs * other_losses) / (ours + theirs)
    assert_allclose(merged.heads[0].losses, wanted, rtol=1e-12)
    assert (np.abs(wanted - (one.heads[0].losses + 0.5)) > 0.05).all()  # not the plain mean
