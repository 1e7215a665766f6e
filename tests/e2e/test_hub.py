"""The hub, through its own client libraries, on a port of this machine: what is there, fetched, cached, and gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from local_hub import Hub, serve

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.enable_socket  # for this machine's own address
TAGS = {
    "org/bert": ("transformers",),
    "org/bert-closed": ("transformers",),
    "org/sentences": ("sentence-transformers", "transformers"),
    "other/bert": ("transformers",),
}
RUNS = """
import contextlib, io, json, sys
from transferability.cli.app import main

for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    code, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    print("RESULT" + json.dumps([code, out.getvalue(), err.getvalue()]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    lines = [f"{'the cat sat' if k % 2 else 'a dog on'} mat {k},{'cat' if k % 2 else 'dog'}" for k in range(40)]
    (folder / "texts.csv").write_text("\n".join(["text,label", *lines, ""]))
    return folder


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of what a hub has of a text model: weights, configuration, tokeniser."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "bert"
    words = ["[PAD]", "[UNK]", "a", "the", "cat", "dog", "sat", "on", "mat"]
    rules = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=rules, pad_token="[PAD]", unk_token="[UNK]", model_max_length=12
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=9, max_position_embeddings=16, **sizes)).save_pretrained(folder)
    return folder


def a_hub(folder: Path) -> Hub:
    return Hub(dict.fromkeys(TAGS, folder), TAGS, frozenset({"org/bert-closed"}), {"org/bert": 2_500_000})


def run(hub: Hub, place: Path, *commands: list[str]) -> list[tuple[int, str, str]]:
    """Call commands one after the other in a process of its own: addresses are read when libraries are imported."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(place / "home"),
        "TRANSFERABILITY_CACHE": str(place / "cache"),
        "COLUMNS": "200",
    }
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(commands)],
        cwd=place, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Retrying" not in done.stderr
    results = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("RESULT")]
    return [(code, out, " ".join(err.split())) for code, out, err in results]


def states(printed: str) -> dict[str, str]:
    listed: list[dict[str, Any]] = json.loads(printed)["encoders"]
    return {each["identifier"]: each["state"] for each in listed}


def test_the_hub_is_searched_and_says_how_large_its_models_are(place: Path, tmp_path: Path) -> None:
    with serve(a_hub(tmp_path)) as hub:
        found, table, nobody = run(
            hub, place,
            ["encoders", "hf:org/*bert*", "--json"], ["encoders", "hf:*bert"], ["encoders", "hf:nobody/*"],
        )  # fmt: skip
    assert found[0] == 0
    assert json.loads(found[1])["hub"] == "reachable"
    assert states(found[1]) == {"hf:org/bert": "download", "hf:org/bert-closed": "download"}
    first = json.loads(found[1])["encoders"][0]
    assert (first["parameters"], first["licence"]) == (2_500_000, "MIT")
    (row,) = [line for line in table[1].splitlines() if "hf:org/bert " in line]
    assert "10 MB" in row
    assert row.endswith("to download")
    assert "hf:other/bert" in table[1]
    assert nobody[0] == 2
    assert "no encoder matches 'hf:nobody/*'" in nobody[2]


@pytest.mark.slow
def test_models_are_fetched_once_and_ranked_from_the_cache_when_the_hub_is_gone(place: Path, bert_folder: Path) -> None:
    rank = ["rank", "texts.csv", "--no-packs", "--json", "-e"]
    with serve(a_hub(bert_folder)) as hub:
        fetched, absent, listed = run(
            hub, place, [*rank, "hf:org/*"], [*rank, "hf:org/absent"], ["encoders", "hf:org/*", "--json"]
        )
        n_asked = len(hub.asked)
    assert fetched[0] == 3
    assert "3 encoders of hf:org/* downloaded where the cache lacks them, about 10 MB." in fetched[2]
    record = json.loads(fetched[1])
    assert {each["encoder"] for each in record["ranking"]} == {"hf:org/bert", "hf:org/sentences"}
    (closed,) = record["skipped"]
    assert closed["encoder"] == "hf:org/bert-closed"
    assert "its authors ask for terms to be accepted" in closed["reason"]
    assert closed["reason"].endswith("log in: hf auth login.")
    assert f"{hub.endpoint} has nothing of this name. Check it" in absent[2]
    assert states(listed[1])["hf:org/bert"] == "cached"
    assert states(listed[1])["hf:org/bert-closed"] == "download"

    again, missing, none, here = run(
        hub, place,
        [*rank, "hf:org/*", "--no-cache"], [*rank, "hf:org/absent"], [*rank, "hf:nobody/*"],
        ["encoders", "hf:org/*", "--json"],
    )  # fmt: skip
    assert len(hub.asked) == n_asked
    assert again[0] == 0
    accuracies = [{each["encoder"]: each["transferred_accuracy"] for each in json.loads(found[1])["ranking"]}
                  for found in (fetched, again)]  # fmt: skip
    assert accuracies[0] == accuracies[1]
    gone = f"{hub.endpoint} does not answer"
    assert f"it is not in the cache of the hub, and {gone}. Fetch it elsewhere" in missing[2]
    assert f"no encoder matches 'hf:nobody/*' in the cache of the hub: {gone}." in none[2]
    assert states(here[1]) == {"hf:org/bert": "cached", "hf:org/sentences": "cached"}
    assert json.loads(here[1])["hub"] == gone


def test_data_of_a_hub_that_is_gone(place: Path) -> None:
    with serve(a_hub(place)) as hub:
        pass
    (found,) = run(hub, place, ["rank", "hf:org/data", "-e", "hf:org/bert"])
    assert found[0] == 1
    assert (
        f"data 'hf:org/data' cannot be loaded: it is not in the cache of the hub, and {hub.endpoint} does" in found[2]
    )
