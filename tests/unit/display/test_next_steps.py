"""What is proposed after a ranking can be done: it is installed, it is not proposed twice, and it has labels."""

from __future__ import annotations

from typing import Any

import pytest

from transferability.display.next_steps import next_steps


def test_an_encoder_that_is_ranked_by_its_layers_is_fine_tuned_once() -> None:
    entries = [
        {"encoder": f"timm:a/layer={each}", "identifier": "timm:a", "relatedness": {"per_class": [{}] * 3}}
        for each in ("1", "2", "3")
    ]
    record = {"ranking": entries, "made": {"command": "transferability rank photos -e timm:a --layer all"}}
    step = next_steps(record)[-1]
    assert step.title == "Fine-tune timm:a briefly"
    assert step.code.endswith("--layer all --confirm 1")


def test_what_is_not_installed_is_named_before_it_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry: dict[str, Any] = {
        "encoder": "packaged:pp-lcnet-orientation",
        "fine_tunable": None,
        "relatedness": {"per_class": [{}] * 3},
    }
    record = {"ranking": [entry], "made": {"command": "transferability rank photos"}}
    install = "pip install 'transferability[onnx-finetune]'"
    monkeypatch.setattr("transferability.display.next_steps.find_spec", lambda _name: None)
    code, command = next_steps(record)
    assert code.code.startswith(f"# {install}\nimport torch")
    assert command.code == f"{install}\ntransferability rank photos --confirm 1"
    assert "onnx2torch, which is not installed here" in command.title
    monkeypatch.setattr("transferability.display.next_steps.find_spec", lambda name: name)
    code, command = next_steps(record)
    assert install not in code.code + command.code + command.title
    entry["fine_tunable"] = False
    assert next_steps(record) == []


def test_no_fine_tuning_is_proposed_without_labelled_rows() -> None:
    entry = {"encoder": "timm:a", "probe": None, "relatedness": {"per_class": [{}] * 3}}
    record = {"ranking": [entry], "made": {"command": "transferability rank photos --unlabelled"}}
    assert [step.language for step in next_steps(record)] == ["python"]
