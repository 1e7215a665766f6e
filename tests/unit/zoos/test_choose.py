"""Which encoders are taken: what fits the data, what is here, what can be fetched, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from transferability.encoders.family import Presence
from transferability.errors import OptionError, UnknownNameError
from transferability.zoos import choose
from transferability.zoos.choose import fitting_size

HERE = {"packaged:efficientnet-lite0", "packaged:minilm-l6", "timm:resnet50.a1_in1k"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Return a function that says which encoders are on this machine, and whether the hub answers."""
    from transferability.encoders import registry
    from transferability.zoos import choose as module_function

    module = __import__(module_function.__module__, fromlist=["choose"])

    def set_up(
        *, hub: str | None = None, size: str = "tiny", here: set[str] = HERE, missing: tuple[str, ...] = ()
    ) -> None:
        def presence(identifier: str) -> Presence:
            if identifier in here:
                return Presence("installed")
            if identifier.startswith("packaged:"):
                return Presence("missing", f"pip install {identifier.partition(':')[2]}")
            if identifier.startswith(missing):
                return Presence("missing", "pip install 'transferability[timm]'")
            return Presence("download")

        monkeypatch.setattr(module, "presence_of", presence)
        monkeypatch.setattr(module, "hub_problem", lambda: hub)
        monkeypatch.setattr(module, "fitting_size", lambda: size)
        monkeypatch.setattr(registry, "hub_problem", lambda: hub)

    return set_up


def test_what_is_named_is_taken_as_it_is_once(machine) -> None:
    machine()
    assert choose(["timm:a", "mini=st:/x", "timm:a"]).encoders == ("timm:a", "mini=st:/x")
    assert choose(["timm:a"]).notes == ()


def test_by_default_the_zoo_of_the_machine_what_is_here_first(machine) -> None:
    machine()
    found = choose(modality="image")
    assert found.zoo == "tiny"
    assert found.encoders[0] == "packaged:efficientnet-lite0"
    assert "timm:resnet18.a1_in1k" in found.encoders
    assert not any(each.startswith(("st:", "hf:")) for each in found.encoders)
    assert "packaged:efficientnet-lite1" not in found.encoders  # not installed
    fetched, missing = found.notes
    assert fetched.startswith("9 encoders of tiny downloaded where the cache lacks them, about 188 MB")
    assert missing.startswith("3 encoders of tiny left out, not installed: pip install")
    machine(size="small")
    assert choose(modality="image").encoders[0] == "timm:resnet50.a1_in1k"


def test_without_a_hub_what_is_here_of_every_size_and_the_rest_is_said_once(machine) -> None:
    machine(hub="the hub sleeps")
    found = choose(modality="image")
    assert set(found.encoders) == {"packaged:efficientnet-lite0", "timm:resnet50.a1_in1k"}
    assert [note for note in found.notes if "hub" in note] == ["9 encoders of tiny left out: the hub sleeps."]
    assert choose(zoo="tiny", modality="image").encoders == ("packaged:efficientnet-lite0",)


def test_a_missing_library_is_said_once_with_the_command(machine) -> None:
    machine(missing=("timm:",))
    note = choose(zoo="tiny", modality="image").notes[-1]
    assert note.count("pip install 'transferability[timm]'") == 1
    assert note.startswith("12 encoders of tiny left out")


def test_the_same_weights_are_ranked_once(machine) -> None:
    machine()
    assert "st:sentence-transformers/all-MiniLM-L6-v2" not in choose(modality="text").encoders
    machine(here=set())
    assert "st:sentence-transformers/all-MiniLM-L6-v2" in choose(modality="text").encoders


def test_the_data_decide(machine) -> None:
    machine()
    assert all(each.startswith("hf:") for each in choose(modality="tokens").encoders)
    with pytest.raises(OptionError, match=r"features already.*features:zoo/ENCODER/\{data\}\.npz"):
        choose(modality="array")
    machine(hub="no hub", here=set())
    with pytest.raises(
        OptionError, match=r"no encoder of zoo tiny for text data is available here. 10 encoders .* no hub"
    ):
        choose(modality="text")


def test_encoders_beside_a_zoo_come_first(machine, tmp_path: Path) -> None:
    machine()
    path = tmp_path / "my.toml"
    path.write_text('encoders = ["python:mine:f", { identifier = "timm:resnet18.a1_in1k", modality = "image" }]')
    assert choose(["onnx:a.onnx"], path, "text").encoders == ("onnx:a.onnx", "python:mine:f")
    assert choose((), path, "image").encoders == ("python:mine:f", "timm:resnet18.a1_in1k")


def test_only_what_can_be_fine_tuned(machine) -> None:
    machine(here={"packaged:wordllama", "packaged:minilm-l6"})
    assert "packaged:wordllama" in choose(modality="text").encoders
    trainable = choose(modality="text", trainable=True).encoders
    assert "packaged:wordllama" not in trainable
    assert "packaged:minilm-l6" in trainable


def test_wildcards(machine) -> None:
    machine()
    found = choose(["packaged:efficientnet-lite?"])
    assert found.encoders == ("packaged:efficientnet-lite0",)
    assert found.notes[0] == "packaged:efficientnet-lite?: 3 encoders."
    names = choose(["timm:vit_tiny_patch16_224.*"]).encoders
    assert len(names) >= 2
    assert all(each.startswith("timm:vit_tiny_patch16_224.") for each in names)
    with pytest.raises(UnknownNameError, match=r"no encoder matches 'timm:vitt_\*'"):
        choose(["timm:vitt_*"])
    machine(hub="no hub", here=set())
    with pytest.raises(OptionError, match=r"no encoder of timm:vit_tiny\* is available here"):
        choose(["timm:vit_tiny*"])


def test_the_size_is_one_of_two() -> None:
    assert fitting_size() in ("tiny", "small")
