"""Packs that packages bring: found for their encoder, related beside the target's own other half, or left out aloud."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transferability import load_encoder, make_pack, rank, relate
from transferability._identifiers import file_name
from transferability.datasets import Dataset, load_dataset
from transferability.encoders.function import FunctionEncoder
from transferability.errors import DatasetError, LabelError, OptionError, TaskError
from transferability.pipeline import Settings, installed_packs
from transferability.pipeline.packs import fingerprint_of
from transferability.relatedness.references import OWN_HALF
from transferability.report.relation_narrative import relation_answer
from transferability.study import Study, load_study, plan_study, rankings_of, run_study

SETTINGS = Settings(cache=False, limit=200, folds=2)
HERE = Path(__file__).parents[2] / "packages" / "transferability-packs" / "src" / "transferability_packs" / "packs"


def rows(items: Sequence[Any]) -> Any:
    return np.stack([np.asarray(each.convert("L"), dtype=float).mean(axis=0) for each in items])


def pixels(items: Sequence[Any]) -> Any:
    return np.stack([np.asarray(each.convert("L"), dtype=float).ravel() for each in items])


def negatives(items: Sequence[Any]) -> Any:
    return -pixels(items)


rows.version = pixels.version = "1"  # type: ignore[attr-defined]
negatives.version = "2"  # type: ignore[attr-defined]
ROWS, PIXELS = FunctionEncoder("rows", rows), FunctionEncoder("pixels", pixels)


def digits(limit: int = 200) -> Dataset:
    return load_dataset("packaged:digits", limit=limit)


def install(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint(name=f"p{k}", value=value, group="transferability.packs") for k, value in enumerate(values)]
    monkeypatch.setattr(installed_packs, "entry_points", lambda group: points)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of packs for the encoder of pixels."""
    folder = tmp_path_factory.mktemp("packs")
    for name, limit in (("many", 600), ("few", 120)):
        made = make_pack(load_dataset("packaged:digits", limit=limit, seed=1), PIXELS, settings=SETTINGS)
        made.save(folder / file_name(PIXELS.name) / f"{name}.safetensors", compact=True)
    return folder


@pytest.fixture
def installed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_packs_package.py").write_text(f"def folder():\n    return {str(folder)!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    install(monkeypatch, "own_packs_package:folder")
    return folder


@pytest.mark.usefixtures("installed")
class TestRank:
    def test_packs_join_the_own_half(self) -> None:
        (entry,) = rank(digits(), None, [PIXELS], settings=SETTINGS).entries
        panel = entry.relatedness.references
        assert [each.reference for each in panel] == ["digits", "digits", OWN_HALF]
        assert all(each.certified and each.bound >= each.transferred_loss for each in panel)
        assert [each.reference_class for each in entry.relatedness.nearest] == [str(k) for k in range(10)]
        assert min(each.share for each in entry.relatedness.nearest) > 0.3

    def test_encoders_are_compared_by_what_all_of_them_have(self) -> None:
        ranking = rank(digits(), None, [PIXELS, ROWS], settings=SETTINGS)
        assert {entry.relatedness.reference for entry in ranking.entries} == {OWN_HALF}
        panels = {entry.encoder: len(entry.relatedness.references) for entry in ranking.entries}
        assert panels == {"pixels": 3, "rows": 1}

    def test_the_order_is_that_of_the_own_half(self) -> None:
        """Packs explain; they change no number that encoders are ordered by."""
        with_packs = rank(digits(), None, [PIXELS], settings=SETTINGS).best
        without = rank(digits(), None, [PIXELS], packs=False, settings=SETTINGS).best
        assert with_packs.relatedness.reference == OWN_HALF
        assert with_packs.relatedness.transferred_accuracy == without.relatedness.transferred_accuracy
        assert (len(without.relatedness.references), without.relatedness.nearest) == (1, ())
        assert with_packs.relatedness.closest().bound < without.relatedness.bound

    def test_are_left_out_beside_a_reference_and_without_labels(self) -> None:
        (entry,) = rank(digits(), digits(100), [PIXELS], settings=SETTINGS).entries
        assert len(entry.relatedness.references) == 1
        bare = Settings(cache=False, limit=200, use_labels=False)
        with pytest.raises(OptionError, match=r"must go with a reference.*which needs labels"):
            rank(digits(), None, [PIXELS], settings=bare)

    def test_take_the_place_of_an_own_half_that_is_too_small(self) -> None:
        data = digits()
        chosen = np.sort(np.concatenate([np.flatnonzero(data.labels == k)[:3] for k in range(10)]))
        few = data.subset(chosen)
        (entry,) = rank(few, None, [PIXELS], settings=Settings(cache=False)).entries
        assert [each.reference for each in entry.relatedness.references] == ["digits", "digits"]
        assert entry.relatedness.certified
        with pytest.raises(TaskError, match="has fewer than 4 rows"):  # an encoder without packs
            rank(few, None, [ROWS], settings=Settings(cache=False))

    def test_json_has_the_panel_and_the_nearest_classes(self) -> None:
        found = rank(digits(), None, [PIXELS], settings=SETTINGS).to_dict()["ranking"][0]["relatedness"]
        assert [each["reference"] for each in found["panel"]] == ["digits", "digits", OWN_HALF]
        assert found["nearest"][3]["reference"] == "digits"


@pytest.mark.usefixtures("installed")
class TestRelate:
    def test_packs_join_the_own_half_as_in_a_ranking(self) -> None:
        (found,) = relate(None, digits(), PIXELS, settings=SETTINGS)
        (entry,) = rank(digits(), None, [PIXELS], settings=SETTINGS).entries
        ranked = entry.relatedness
        assert [each.reference for each in found.references] == ["digits", "digits", OWN_HALF]
        assert [each.bound for each in found.references] == [each.bound for each in ranked.references]
        assert (found.reference, found.nearest) == (OWN_HALF, ranked.nearest)

    def test_the_answer_names_the_closest_and_not_the_own_half(self) -> None:
        found = relate(None, digits(), PIXELS, settings=SETTINGS)
        said = relation_answer([each.to_dict() for each in found], "pixels")
        assert said["headline"] == "digits is most like digits under pixels."

    def test_are_left_out_where_asked_and_beside_a_reference(self) -> None:
        (alone,) = relate(None, digits(), PIXELS, packs=False, settings=SETTINGS)
        (beside,) = relate(digits(100), digits(), PIXELS, settings=SETTINGS)
        assert (len(alone.references), len(beside.references)) == (1, 1)
        assert alone.nearest == beside.nearest == ()

    def test_packs_of_another_encoder_are_noted(self) -> None:
        (found,) = relate(None, digits(), FunctionEncoder("pixels", negatives), settings=SETTINGS)
        assert any(note.startswith("reference packs: 2 of 2 installed packs are left out") for note in found.notes)


class TestStudy:
    ENCODER = f"pixels=python:{__name__}:pixels"

    @pytest.fixture(autouse=True)
    def pack(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Install one pack of the encoder as a study loads it."""
        encoder = load_encoder(self.ENCODER)
        made = make_pack(load_dataset("packaged:digits", limit=300, seed=1), encoder, settings=SETTINGS)
        made.save(tmp_path / "packs" / "pixels" / "many.safetensors", compact=True)
        (tmp_path / "packs_of_studies.py").write_text(f"def folder():\n    return {str(tmp_path / 'packs')!r}\n")
        monkeypatch.delitem(sys.modules, "packs_of_studies", raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        install(monkeypatch, "packs_of_studies:folder")

    def study(self, tmp_path: Path, *lines: str) -> Study:
        (tmp_path / "study.toml").write_text(
            "\n".join([f'encoders = ["{self.ENCODER}"]', 'targets = ["packaged:digits"]', *lines])
            + "\n[settings]\nlimit = 200\ncache = false\n"
        )
        return load_study(tmp_path / "study.toml")

    def test_without_references_packs_join_the_own_half(self, tmp_path: Path) -> None:
        study = self.study(tmp_path)
        assert study.references == ()
        (ranking,) = rankings_of(study, run_study(study))
        assert [each.reference for each in ranking.best.relatedness.references] == ["digits", OWN_HALF]
        assert [cell.done for cell in plan_study(study)] == [True]
        alone = self.study(tmp_path, "packs = false")
        assert [cell.done for cell in plan_study(alone)] == [False]  # another result under another key
        (ranking,) = rankings_of(alone, run_study(alone))
        assert len(ranking.best.relatedness.references) == 1

    def test_packs_that_change_are_measured_anew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        study = self.study(tmp_path)
        run_study(study)
        install(monkeypatch)
        assert [cell.done for cell in plan_study(study)] == [False]

    def test_a_target_without_labels_is_said_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("text\na film\nanother film\n")
        (tmp_path / "s.toml").write_text(f'encoders = ["python:m:f"]\ntargets = ["{tmp_path}/t.csv"]')
        with pytest.raises(LabelError, match="has no labels, and without a reference they are needed"):
            run_study(load_study(tmp_path / "s.toml"))


@pytest.mark.usefixtures("installed")
def test_packs_of_another_encoder_are_left_out_aloud() -> None:
    other = FunctionEncoder("pixels", negatives)  # the same name
    packs, note = installed_packs.installed_packs(fingerprint_of(other))
    assert packs == []
    assert note == (
        "2 of 2 installed packs are left out: they are of another version of this encoder, or keep no rows."
    )
    (entry,) = rank(digits(), None, [other], settings=SETTINGS).entries
    assert entry.notes["reference packs"] == note
    assert installed_packs.installed_packs(fingerprint_of(PIXELS))[1] is None
    assert installed_packs.installed_packs(None) == ([], None)


def test_without_packages_there_is_the_own_half_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    (entry,) = rank(digits(), None, [PIXELS], settings=SETTINGS).entries
    assert [each.reference for each in entry.relatedness.references] == [OWN_HALF]


@pytest.mark.parametrize("value", ["no_such_module_at_all:folder", "json:no_such_name", "json:loads"])
def test_a_broken_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    install(monkeypatch, value)
    with pytest.raises(
        DatasetError, match=rf"reference packs of '{value}' cannot be found: .*Install the package again"
    ):
        installed_packs.pack_folders()


# ── transferability-packs ────────────────────────────────────────────────────────────────────────────────────────────


def test_every_shipped_pack_can_be_read_and_names_its_licence() -> None:
    from transferability import ReferencePack

    files = sorted(HERE.glob("*/*.safetensors"))
    assert len(files) >= 40
    assert sum(path.stat().st_size for path in files) < 12e6
    for path in files:
        pack = ReferencePack.load(path)
        assert pack.name == path.stem
        assert pack.has_rows
        assert pack.class_names is not None
        assert file_name(pack.encoder.name) == path.parent.name
        assert pack.provenance["licence"] in ("CC-BY-SA-3.0", "MIT", "Apache-2.0", "CC-BY-4.0", "CC-BY-3.0")
        held_out = pack.heads[0].held_out
        accuracy = (held_out.logits.argmax(axis=1) == held_out.labels).mean()
        assert accuracy > 2 / pack.n_classes  # a classifier that is worth transferring


def test_shipped_packs_serve_the_packaged_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint in the files is that of the encoder as it is installed, on any machine."""
    from transferability.encoders import load_encoder

    monkeypatch.setattr(installed_packs, "pack_folders", lambda: [HERE])
    for name in ("pp-lcnet-orientation", "efficientnet-lite0"):
        packs, note = installed_packs.installed_packs(fingerprint_of(load_encoder(f"packaged:{name}")))
        assert note is None
        assert [pack.name for pack in packs] == ["fashion_mnist", "mnist", "omniglot_alphabet", "sign_digits"]
