"""What commands print and write beside the table: the next command, files, progress, and what an interrupt leaves."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import TWO_ENCODERS

from transferability.cli.app import main
from transferability.display.next_steps import next_steps
from transferability.features import write_features
from transferability.pipeline import Settings, rank
from transferability.pipeline.rank_encoders import RankingInterrupted
from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.report.folder import remove_stale, write_readme

Run = Callable[..., tuple[int, str, str]]
RANK = "rank -t packaged:digits --limit 60 --folds 1 -e python:answering:rows -e px=python:answering:pixels".split()  # noqa: SIM905


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    Path("answering.py").write_text(TWO_ENCODERS)

    def call(*arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", ["transferability", *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), out.getvalue(), err.getvalue()

    return call


def test_costs_are_measured_once_and_remembered(run: Run) -> None:
    first, again, without = (json.loads(run(*RANK, "--json", *more)[1]) for more in ([], [], ["--no-cache"]))
    for record in (first, again, without):
        for entry in record["ranking"]:
            cost = entry["cost"]
            assert cost["items_per_second"] > 0
            assert cost["dimension"] in (8, 64)
            assert cost["peak_memory"] > 10**6
            parts = cost["load_seconds"] + cost["extraction_seconds"] + cost["fit_seconds"]
            assert parts == pytest.approx(entry["seconds"], rel=1e-6)
        assert any(entry["on_front"] for entry in record["ranking"])
    speeds = [{entry["encoder"]: entry["items_per_second"] for entry in record["ranking"]} for record in (first, again)]
    assert speeds[0] == speeds[1]  # nothing was encoded the second time
    names = {entry["encoder"]: entry["identifier"] for entry in first["ranking"]}
    assert names == {"python:answering:rows": "python:answering:rows", "px": "python:answering:pixels"}


def test_the_table_goes_to_csv_and_plots_to_a_folder(run: Run) -> None:
    code, _, err = run(*RANK, "--csv", "table.csv", "--plots", "plots", "--out", "results")
    assert code == 0, err
    rows = list(csv.DictReader(Path("table.csv").read_text("utf-8").splitlines()))
    record = json.loads(Path("results/ranking.json").read_text("utf-8"))
    assert [row["encoder"] for row in rows] == [entry["encoder"] for entry in record["ranking"]]
    assert list(rows[0]) == [field["key"] for field in record["fields"]]
    drawn = {path.name for path in Path("plots").iterdir()}
    assert {"front.png", "front.svg", "terms.png", "terms.svg", "agreement.svg", "best-classes.png"} <= drawn
    for path in Path("plots").iterdir():
        assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    assert "Next:" not in err  # functions have no weights to train
    assert "\x1b" not in err  # no bars where nobody looks
    readme = Path("results/README.md").read_text("utf-8")
    for name in ("report.html", "ranking.json", "transform-1.safetensors"):
        assert f"`{name}`" in readme


def test_files_of_an_earlier_run_are_removed_and_others_stay(run: Run, tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    for name in ("a", "b"):
        write_features(f"{name}.npz", np.eye(3, 5)[labels] * 4, labels)
    assert run(*RANK, "--out", "results")[0] == 0
    (tmp_path / "results" / "notes.txt").write_text("mine")
    code, _, err = run("relate", "-r", "features:a.npz", "-t", "features:b.npz", "--out", "results", "--csv", "r.csv")
    assert code == 0, err
    assert {path.name for path in Path("results").iterdir()} == {
        "relate.json", "relate.details.json", "report.html", "report.md", "README.md", "notes.txt",
    }  # fmt: skip
    assert next(csv.DictReader(Path("r.csv").read_text().splitlines()))["reference"] == "a"
    (tmp_path / "results" / "README.md").write_text("# Mine")
    write_readme(tmp_path / "results")
    assert (tmp_path / "results" / "README.md").read_text() == "# Mine"
    remove_stale(tmp_path / "results")
    assert {path.name for path in Path("results").iterdir()} == {"README.md", "notes.txt"}


def test_an_interrupt_leaves_the_ranking_of_what_is_done(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("answering.py").write_text(
        TWO_ENCODERS + "def slow(items):\n    raise KeyboardInterrupt\nslow.version = '1'\n"
    )
    sys.modules.pop("answering", None)
    code, out, err = run(*RANK, "-e", "python:answering:slow", "--out", "results")
    assert code == 130
    assert "interrupted: this is the ranking of the first 2 of 3 encoders." in err
    assert "px" in out
    assert len(json.loads(Path("results/ranking.json").read_text())["ranking"]) == 2
    settings = Settings(limit=60, folds=1, cache=False)
    with pytest.raises(RankingInterrupted) as stopped:
        rank("packaged:digits", None, ["python:answering:rows", "python:answering:slow"], settings=settings)
    assert [entry.encoder for entry in stopped.value.ranking] == ["python:answering:rows"]
    with pytest.raises(KeyboardInterrupt):
        rank("packaged:digits", None, ["python:answering:slow"], settings=settings)
    sys.modules.pop("answering", None)


def test_everybody_is_told_how_far_it_is(run: Run) -> None:
    told: list[tuple[str | None, int, int]] = []
    rank(
        "packaged:digits", None, ["python:answering:rows", "python:answering:nothing"],
        settings=Settings(limit=60, folds=1, cache=False),
        tell=lambda entry, done, total: told.append((entry and entry.encoder, done, total)),
    )  # fmt: skip
    assert told == [(None, 0, 2), ("python:answering:rows", 1, 2), ("python:answering:nothing", 2, 2)]


@pytest.mark.parametrize(
    ("encoder", "modality", "words"),
    [
        ("timm:resnet18.a1_in1k", "image", 'timm.create_model("resnet18.a1_in1k", pretrained=True, num_classes=3)'),
        (
            "hf:org/model@abc",
            "text",
            'AutoModelForSequenceClassification.from_pretrained(\n    "org/model", revision="abc"',
        ),
        ("hf:org/model", "image", "AutoModelForImageClassification"),
        ("hf:org/model", "tokens", "AutoModelForTokenClassification"),
        ("hf:/models/a@b", "text", 'from_pretrained("/models/a@b")'),
        ("hf:~/a", "text", 'load_encoder("hf:~/a")'),
        ("st:all-MiniLM-L6-v2", "text", 'SentenceTransformer("all-MiniLM-L6-v2")'),
        ("st:org/model@abc", "text", 'SentenceTransformer("org/model", revision="abc")'),
        ("timm:test_vit@random", "image", 'create_model("test_vit", pretrained=False, num_classes=3)'),
        ("timm:hf-hub:timm/test_vit@v1", "image", 'create_model("hf-hub:timm/test_vit@v1", pretrained=True'),
        ("torchvision:resnet18@random", "image", 'get_model("resnet18", weights=None)'),
        ("torchvision:resnet50@IMAGENET1K_V1", "image", 'get_model("resnet50", weights="IMAGENET1K_V1")'),
        ("openclip:ViT-B-32@random", "image", 'as_trainable(load_encoder("openclip:ViT-B-32@random"))'),
        ("onnx:runs/layer=3/m.onnx#/pool", "image", 'load_encoder("onnx:runs/layer=3/m.onnx#/pool")'),
        ("torchvision:resnet50", "image", 'torchvision.models.get_model("resnet50"'),
        ("packaged:efficientnet-lite0", "image", 'load_encoder("packaged:efficientnet-lite0")'),
        ("features:{data}.npz", "array", None),
        ("python:mine:rows", "image", None),
    ],
)
def test_the_next_step_is_code_that_can_be_pasted(encoder: str, modality: str, words: str | None) -> None:
    record = {
        "ranking": [{"encoder": "short", "identifier": encoder, "relatedness": {"per_class": [{}] * 3}}],
        "made": {"data": [{"kind": modality}], "command": "transferability rank 'my photos' -e x"},
    }
    steps = next_steps(record)
    code = [step.code for step in steps if step.language == "python"]
    assert bool(code) == (words is not None)
    if words is not None:
        assert words in code[0]
        compile(code[0], "snippet", "exec")
    commands = [step.code for step in steps if step.language == "sh"]
    assert bool(commands) != encoder.startswith(("features:", "python:"))
    assert all(command == "transferability rank 'my photos' -e x --confirm 1" for command in commands)
    record["made"]["command"] = "study.py"  # type: ignore[index]
    (command,) = [step.code for step in next_steps(record) if step.language == "sh"] or [None]
    assert command is None or command == f"transferability rank DATA --encoder {shlex.quote(encoder)} --confirm 1"
    record["made"]["target"] = "folder:my photos"  # type: ignore[index]
    (command,) = [step.code for step in next_steps(record) if step.language == "sh"] or [None]
    assert command is None or command.startswith("transferability rank 'folder:my photos' --encoder ")
    record["made"]["settings"] = {"limit": 400}  # type: ignore[index]
    (command,) = [step.code for step in next_steps(record) if step.language == "sh"] or [None]
    assert command is None or command.startswith("transferability rank 'folder:my photos' --limit 400 --encoder ")
    assert [step for step in next_steps(record | {"confirmation": {}}) if step.language == "sh"] == []


@pytest.mark.parametrize("encoder", ["timm:test_vit@random", "torchvision:squeezenet1_1@random"])
def test_the_code_for_untrained_networks_runs(encoder: str) -> None:
    record = {"ranking": [{"encoder": encoder, "relatedness": {"per_class": [{}] * 3}}], "confirmation": {}}
    (step,) = next_steps(record)
    names: dict[str, Any] = {}
    exec(step.code, names)
    assert next(names["model"].parameters()).requires_grad


def test_the_code_has_the_options_of_the_ranking() -> None:
    def code(**entry: object) -> list[str]:
        record = {
            "ranking": [{"relatedness": {"per_class": [{}] * 3}, **entry}],
            "made": {"settings": {"pool": "cls", "trust_remote_code": True}},
            "confirmation": {},
        }
        return [step.code for step in next_steps(record)]

    (own,) = code(encoder="packaged:a")
    assert 'load_encoder("packaged:a", pool="cls", trust_remote_code=True)' in own
    (hub,) = code(encoder="hf:org/model")
    assert hub.count(", trust_remote_code=True") == 2
    (layer,) = code(encoder="timm:a/layer=blocks.2", base_encoder="timm:a", identifier=None)
    assert 'create_model("timm' not in layer
    assert 'create_model("a"' in layer
    assert code(encoder="plugin:a", fine_tunable=False) == []


def test_encoders_in_memory_are_in_no_command() -> None:
    ranking = rank(((rows := np.eye(2)[np.arange(40) % 2]), np.arange(40) % 2), encoders={"mine": rows})
    assert next_steps(ranking.to_dict()) == []


@pytest.mark.parametrize(
    ("encoders", "count"),
    [
        (["python:a:b"], None),
        (["features:x.npz", "python:a:b"], None),
        (["timm:a"], 1),
        (["python:a:b", "timm:a"], 1),
        (["timm:a", "python:a:b", "st:b"], 2),
        (["timm:a", "st:b", "python:a:b"], 2),
        (["timm:a", "timm:b", "timm:c", "timm:d"], 3),
    ],
)
def test_confirmation_is_proposed_for_the_first_three_that_can_be_trained(
    encoders: list[str], count: int | None
) -> None:
    record = {
        "ranking": [{"encoder": each, "relatedness": {"per_class": [{}] * 3}} for each in encoders],
        "made": {"data": [{"kind": "image"}], "command": "transferability rank photos"},
    }
    commands = [step.code for step in next_steps(record) if step.language == "sh"]
    assert commands == ([] if count is None else [f"transferability rank photos --confirm {count}"])


def test_a_function_that_does_better_as_it_is_is_the_answer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frozen function, though another one was fine-tuned; and fewer were fine-tuned than was asked for."""

    def confirm_first(*arguments: Any) -> Confirmation:
        entries = (Confirmed("python:answering:rows", 0.3), Confirmed("px", None, note="passed over: a function."))
        return Confirmation("digits", 20, entries, (12,), n_ranked=2)

    monkeypatch.setattr("transferability.cli.rank.confirm_first", confirm_first)
    files = ("--out", "results", "--csv", "table.csv")
    code, _, err = run(*RANK, "--confirm", "2", *files)
    assert code == 3
    record = json.loads(Path("results/ranking.json").read_text("utf-8"))
    assert record["confirmation"]["best"] == "python:answering:rows"
    (px,) = [entry for entry in record["ranking"] if entry["encoder"] == "px"]
    assert px["probe"]["accuracy"] > 0.3
    said = f"px cannot be fine-tuned; a linear classifier on its features is right in {px['probe_accuracy']:.1%}"
    said = said.replace("%", " %") + ", more than that: take it as it is."
    assert said in " ".join(err.split())
    assert "Next: Write the features of python:answering:pixels" in " ".join(err.split())
    report = Path("results/report.md").read_text("utf-8")
    assert "## Take px as it is for digits." in report
    assert "python:answering:rows is right in 30.0% of 20 rows" in report
    assert said in report
    rows = {row["encoder"]: row for row in csv.DictReader(Path("table.csv").read_text("utf-8").splitlines())}
    low, high = record["confirmation"]["entries"][0]["interval"]
    assert float(rows["python:answering:rows"]["confirmed_accuracy_low"]) == low
    assert float(rows["python:answering:rows"]["confirmed_accuracy_high"]) == high
    assert rows["px"]["confirmed_accuracy_low"] == ""
    assert run(*RANK, "--confirm", "1", *files)[0] == 0


def test_names_that_cannot_be_pasted_are_in_no_code() -> None:
    for name in ('st:a"\n```\n<script>', "timm:$(reboot)", "hf:a`b", "st:" + "x" * 400):
        record = {
            "ranking": [{"encoder": name, "relatedness": {"per_class": [{}] * 3}}],
            "made": {"data": [], "command": "transferability rank 'a; b' -e x --target=<x>", "target": "<x>"},
        }
        assert next_steps(record) == []
        record["ranking"].append({"encoder": "timm:a", "relatedness": {"per_class": [{}] * 3}})  # type: ignore[attr-defined]
        (step,) = next_steps(record)
        assert step.code == "transferability rank DATA --encoder timm:a --confirm 1"
