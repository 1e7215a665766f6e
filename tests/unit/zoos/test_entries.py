"""The shipped zoos say what timm and the architectures say; a zoo of one's own is read or refused in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.licenses import canonicalize_license_expression

from transferability.encoders.licences import licence_name
from transferability.encoders.packaged import PACKAGED
from transferability.encoders.registry import families
from transferability.errors import OptionError, UnknownNameError
from transferability.zoos import SIZES, Entry, entry_of, load_zoo

ENTRIES = [entry for size in SIZES for entry in load_zoo(size)]
LIMITS = {
    ("tiny", "image"): (2, 12e6), ("small", "image"): (7, 35e6), ("base", "image"): (50, 100e6),
    ("tiny", "text"): (3, 1e9), ("small", "text"): (7, 1e9), ("base", "text"): (15, 1e9),
}  # fmt: skip
SMALL = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
ROBERTA = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
DEBERTA = {
    "vocab_size": 128100, "relative_attention": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm",
    "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
MPNET = {"vocab_size": 30527, "max_position_embeddings": 514}
# The `config.json` of each model of texts, where it differs from the defaults of its class.
CONFIGS = {
    "all-MiniLM-L6-v2": ("Bert", SMALL | {"num_hidden_layers": 6}),
    "all-MiniLM-L12-v2": ("Bert", SMALL | {"num_hidden_layers": 12}),
    "paraphrase-MiniLM-L3-v2": ("Bert", SMALL | {"num_hidden_layers": 3}),
    "minilm-l6": ("Bert", SMALL | {"num_hidden_layers": 6}),
    "bge-small-en-v1.5": ("Bert", SMALL), "e5-small-v2": ("Bert", SMALL), "gte-small": ("Bert", SMALL),
    "snowflake-arctic-embed-xs": ("Bert", SMALL | {"num_hidden_layers": 6}),
    "st:intfloat/multilingual-e5-small": ("Bert", SMALL | {"vocab_size": 250037}),
    "electra-small-discriminator": ("Electra", {}),
    "electra-base-discriminator": (
        "Electra",
        {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "bert_uncased_L-4_H-256_A-4": (
        "Bert", {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024},
    ),
    "distilbert-base-uncased": ("DistilBert", {}),
    "distilroberta-base": ("Roberta", ROBERTA | {"num_hidden_layers": 6}),
    "all-distilroberta-v1": ("Roberta", ROBERTA | {"num_hidden_layers": 6}),
    "deberta-v3-small": ("DebertaV2", DEBERTA | {"hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12,
                                                  "intermediate_size": 3072}),
    "deberta-v3-base": ("DebertaV2", DEBERTA | {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
                                                 "intermediate_size": 3072}),
    "deberta-v3-large": ("DebertaV2", DEBERTA | LARGE),
    "bert-base-uncased": ("Bert", {}), "bge-base-en-v1.5": ("Bert", {}), "e5-base-v2": ("Bert", {}),
    "gte-base": ("Bert", {}),
    "FacebookAI/roberta-base": ("Roberta", ROBERTA),
    "roberta-large": ("Roberta", ROBERTA | LARGE),
    "xlm-roberta-base": ("XLMRoberta", ROBERTA | {"vocab_size": 250002}),
    "ModernBERT-base": ("ModernBert", {}),
    "ModernBERT-large": (
        "ModernBert",
        {"hidden_size": 1024, "intermediate_size": 2624, "num_hidden_layers": 28, "num_attention_heads": 16},
    ),
    "all-mpnet-base-v2": ("MPNet", MPNET),
    "bert-large-uncased": ("Bert", LARGE), "bge-large-en-v1.5": ("Bert", LARGE), "e5-large-v2": ("Bert", LARGE),
    "mxbai-embed-large-v1": ("Bert", LARGE),
    "bge-m3": ("XLMRoberta", ROBERTA | LARGE | {"vocab_size": 250002, "max_position_embeddings": 8194}),
}  # fmt: skip


def names(prefix: str, *sizes: str) -> list[str]:
    return [each.identifier for each in ENTRIES if each.zoo in sizes and each.identifier.startswith(f"{prefix}:")]


def test_every_entry_is_whole_once_and_of_its_size() -> None:
    assert len({entry.identifier for entry in ENTRIES}) == len(ENTRIES)
    for entry in ENTRIES:
        assert entry.modality in ("image", "text")
        assert entry.family
        assert entry.licence == canonicalize_license_expression(entry.licence)  # one spelling of each
        assert entry.pretraining
        prefix, _, spec = entry.identifier.partition(":")
        assert prefix in families()
        assert prefix != "packaged" or spec in PACKAGED
        assert prefix == "packaged" or (entry.parameters and entry.input)
        assert entry.same_as is None or entry_of(entry.same_as) is not None
        if entry.gmacs and entry.parameters:
            fitting = (
                size for size in SIZES
                if size == "large"
                or (entry.gmacs <= LIMITS[size, entry.modality][0]
                    and (entry.modality == "text" or entry.parameters <= LIMITS[size, entry.modality][1]))
            )  # fmt: skip
            assert entry.zoo == next(fitting), entry.identifier


@pytest.mark.parametrize("identifier", names("timm", *SIZES))
def test_entries_of_timm_say_what_its_configuration_says(identifier: str) -> None:
    import timm

    entry, spec = entry_of(identifier), identifier.partition(":")[2]
    config = timm.get_pretrained_cfg(spec)
    assert timm.is_model_pretrained(spec)
    assert config.hf_hub_id == f"timm/{spec}"  # where `presence` looks for it
    assert (entry.input, entry.licence) == (config.input_size[-1], licence_name(config.license))


def check_timm(identifier: str) -> None:
    from transferability.encoders.timm import facts

    entry = entry_of(identifier)
    assert facts(identifier.partition(":")[2]) == (entry.parameters, entry.input, entry.licence)


@pytest.mark.parametrize("identifier", names("timm", "tiny"))
def test_parameters_of_tiny_entries_of_timm(identifier: str) -> None:
    check_timm(identifier)


@pytest.mark.slow
@pytest.mark.parametrize("identifier", names("timm", "small", "base", "large"))
def test_parameters_of_entries_of_timm(identifier: str) -> None:
    check_timm(identifier)


@pytest.mark.parametrize("identifier", [*names("st", *SIZES), *names("hf", *SIZES), "packaged:minilm-l6"])
def test_parameters_of_entries_of_texts(identifier: str) -> None:
    import torch
    import transformers

    kind, options = next(value for key, value in CONFIGS.items() if identifier.endswith(key))
    config = getattr(transformers, f"{kind}Config")(**options)
    with torch.device("meta"):
        model = getattr(transformers, f"{kind}Model")(config)
    assert entry_of(identifier).parameters == sum(each.numel() for each in model.parameters())


# ── a file of one's own ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_zoo_of_ones_own_includes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(
        'include = ["tiny"]\nencoders = ["timm:resnet50.a1_in1k", '
        '{ identifier = "mini=st:/models/mini", modality = "text", gmacs = 2, licence = "mit" },'
        '{ identifier = "packaged:efficientnet-lite0", parameters = 1 }]\n'
    )
    found = load_zoo(path)
    assert [entry.identifier for entry in found][-2:] == ["timm:resnet50.a1_in1k", "mini=st:/models/mini"]
    assert len(found) == len(load_zoo("tiny")) + 2
    assert found[0] == Entry("packaged:efficientnet-lite0", parameters=1)  # the later one counts
    assert found[-1] == Entry("mini=st:/models/mini", "text", gmacs=2, licence="MIT")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("encoder = []", "must hold the keys encoders and include; got 'encoder'"),
        ("encoders = 3", "must be a list; got int"),
        ("encoders = []", "at least one encoder"),
        ("encoders = [1]", "encoder 1 of zoo .* must be an identifier"),
        ('encoders = ["timm:a", { modality = "text" }]', "encoder 2 of zoo .* must be an identifier"),
        ('encoders = [{ identifier = "timm:a", params = 3 }]', "Did you mean 'parameters'"),
        ('encoders = [{ identifier = "timm:a", modality = "picture" }]', "`modality` of encoder 1 .* image, text"),
        ('encoders = [{ identifier = "timm:a", parameters = "25 M" }]', "`parameters` .* must be of type int"),
        ('include = ["tinny"]', "`include` of zoo .* tiny, small, base, large"),
        ("encoders = [", "is not valid TOML"),
    ],
)
def test_a_zoo_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=match) as caught:
        load_zoo(path)
    assert "\n" not in str(caught.value)


def test_zoos_and_aliases_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=r"must be tiny, small, base, large, or a TOML file; got 'tinny'\. Did you mean"
    ):
        load_zoo("tinny")
    path = tmp_path / "my.toml"
    path.write_text('encoders = ["=timm:a"]')
    with pytest.raises(UnknownNameError, match="SHORT=PREFIX:NAME"):
        load_zoo(path)


def test_the_head_of_the_file_names_every_key() -> None:
    text = Path(load_zoo.__code__.co_filename).with_name("encoders.toml").read_text("utf-8")
    keys = set(re.findall(r"^# (\w+)  +\S", text, re.MULTILINE))
    assert keys >= {name for name in Entry.__dataclass_fields__ if name != "zoo"}
