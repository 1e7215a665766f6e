"""What to do after a ranking: code that fine-tunes the encoder to take, and the command that confirms the first few."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from transferability.display.frozen import better_frozen, confirmed_row

__all__ = ["Step", "next_steps"]

_SHORTLIST = 3
_NO_WEIGHTS = ("features:", "python:")
"""Files and functions: there is nothing to train."""
_THROUGH_ONNX = ("onnx:", "packaged:")
"""What may have to be converted before it is trained; `fine_tunable` is None then."""
_CONVERTER, _INSTALL = "onnx2torch", "pip install 'transferability[onnx-finetune]'"
_RANDOM = "@random"
_ON_HUB = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
_PLAIN = re.compile(r"[\w ./:,@#%+={}~-]{1,300}")
"""Names that can be pasted into code and commands as they are; for others nothing is proposed."""


class Step(NamedTuple):
    """One thing to do: what it gives, and the code or command for it."""

    title: str
    code: str
    language: str  # "python" or "sh"


def next_steps(record: Mapping[str, Any]) -> list[Step]:
    """Return what to do with a ranking: with the first encoder, or with the best that was fine-tuned.

    Parameters
    ----------
    record : mapping
        `Ranking.to_dict()`.
    """
    entries = record["ranking"]
    best = confirmed_row(record) or entries[0]
    n_classes = len(best["relatedness"]["per_class"])
    made = record.get("made") or {}
    if made.get("interrupted") and (again := _again(made.get("command"))) is not None:
        return [Step("Rank the other encoders; what was extracted is in the cache", again, "sh")]
    data = made.get("data") or [{}]
    identifier = _identifier(best)
    code = None
    tuned = best.get("confirmed") or {"accuracy": 0.0}
    in_vain = tuned["accuracy"] is None or tuned.get("best_epoch") == 0  # it failed, or no epoch was better than before
    if _PLAIN.fullmatch(identifier) and best.get("fine_tunable") is not False and not in_vain:
        code = _snippet(identifier, n_classes, str(data[0].get("kind", "")), made.get("settings") or {})
        code = f"# {_INSTALL}\n{code}" if code is not None and _lacks_converter(best) else code
    frozen = better_frozen(record)
    title = f"Fine-tune {identifier}" + ("" if frozen is None else ", the most accurate of those that can be")
    steps = [] if code is None else [Step(title, code, "python")]
    if frozen is None and tuned.get("best_epoch") == 0:
        steps = _use_as_it_is(best, made)
    if frozen is not None:
        steps = _use_as_it_is(next(each for each in entries if each["encoder"] == frozen.encoder), made) + steps
    confirmation = _confirmation(entries, made) if record.get("confirmation") is None else None
    return steps if confirmation is None else [*steps, confirmation]


def _confirmation(entries: Sequence[Mapping[str, Any]], made: Mapping[str, Any]) -> Step | None:
    """Return the command that fine-tunes the first few; None where none can be, or the target has no labelled rows."""
    if all(each.get("probe", True) is None for each in entries):
        return None
    # Each encoder once: of one that is ranked by several layers, the whole is fine-tuned.
    named: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if _PLAIN.fullmatch(name := _identifier(entry)):
            named.setdefault(name, entry)
    # What has no prefix is in memory: no command can name it.
    trainable = [
        name
        for name, entry in named.items()
        if ":" in name and not name.startswith(_NO_WEIGHTS) and entry.get("fine_tunable") is not False
    ][:_SHORTLIST]
    if not trainable:
        return None
    count = len(trainable)
    first = "the first" if trainable == list(named)[:count] else "the first that can be"
    title = f"Fine-tune {first} {count} briefly, and let that decide"
    title = title if count > 1 else f"Fine-tune {trainable[0]} briefly"
    install = any(_lacks_converter(named[name]) for name in trainable)
    title += f", with {_CONVERTER}, which is not installed here" * install
    command = _again(made.get("command"), "--confirm", str(count)) or _rank_these(trainable, made)
    return Step(title, f"{_INSTALL}\n{command}" if install else command, "sh")


def _rank_these(encoders: Sequence[str], made: Mapping[str, Any]) -> str:
    """Return the command that ranks and fine-tunes some encoders, where none made the ranking; on as many rows."""
    limit = (made.get("settings") or {}).get("limit")
    words = [] if limit is None else ["--limit", str(limit)]
    words += [word for name in encoders for word in ("--encoder", name)]
    return shlex.join(["transferability", "rank", _target(made), *words, "--confirm", str(len(encoders))])


def _lacks_converter(entry: Mapping[str, Any]) -> bool:
    """Tell whether an encoder must be converted before it is trained, and what does that is not installed."""
    converted = _identifier(entry).startswith(_THROUGH_ONNX) and entry.get("fine_tunable", True) is None
    return converted and find_spec(_CONVERTER) is None


def _use_as_it_is(entry: Mapping[str, Any], made: Mapping[str, Any]) -> list[Step]:
    """Return the command that writes the features of an encoder; none of what is in memory, or is a file of them."""
    identifier, layer = _identifier(entry), entry.get("layer")
    if ":" not in identifier or identifier.startswith("features:") or not _PLAIN.fullmatch(f"{identifier}{layer}"):
        return []
    words = ["transferability", "extract", _target(made), "--encoder", identifier]
    words += [] if layer is None else ["--layer", str(layer)]
    return [Step(f"Write the features of {identifier}, and train a linear classifier on them", shlex.join(words), "sh")]


def _identifier(entry: Mapping[str, Any]) -> str:
    """Return what loads an encoder, or the whole of which it is a layer; else its name."""
    return str(entry.get("identifier") or entry.get("base_encoder") or entry["encoder"])


def _again(command: str | None, *more: str) -> str | None:
    """Return the command that made a ranking, with options added; None where it cannot be pasted."""
    try:
        words = shlex.split(command or "")
    except ValueError:
        return None
    if len(words) < 2 or words[1] != "rank" or not all(map(_PLAIN.fullmatch, words)) or "--json" in words:
        return None
    there = [word for word in words if more and word.partition("=")[0] == more[0]]  # it was interrupted
    return shlex.join(["transferability", *words[1:], *(() if there else more)])


def _target(made: Mapping[str, Any]) -> str:
    """Return the identifier of the target, or a word to be replaced."""
    target = str(made.get("target") or "")
    return target if _PLAIN.fullmatch(target) else "DATA"


def _snippet(encoder: str, n_classes: int, modality: str, settings: Mapping[str, Any]) -> str | None:
    """Return code that loads an encoder with a new head; None of what has no weights."""
    prefix, _, spec = encoder.partition(":")
    if not spec or encoder.startswith(_NO_WEIGHTS):
        return None
    make = {"timm": _timm, "torchvision": _torchvision, "hf": _transformers, "st": _sentences}.get(prefix)
    if make is None or spec.startswith("~"):  # only `load_encoder` looks for the home folder
        return _any(encoder, n_classes, settings)
    trusted = ", trust_remote_code=True" * (settings.get("trust_remote_code") is True and prefix in ("hf", "st"))
    return make(spec, n_classes, modality, trusted)


def _timm(spec: str, n_classes: int, _modality: str, _trusted: str) -> str:
    name, trained = spec.removesuffix(_RANDOM), not spec.endswith(_RANDOM)
    return (
        "import timm\n"
        f"model = timm.create_model({_quoted(name)}, pretrained={trained}, num_classes={n_classes})\n"
        "config = timm.data.resolve_model_data_config(model)\n"
        "transform = timm.data.create_transform(**config, is_training=True)"
    )


def _torchvision(spec: str, n_classes: int, _modality: str, _trusted: str) -> str:
    name, _, weights = spec.partition("@")
    chosen = None if spec.endswith(_RANDOM) else _quoted(weights or "DEFAULT")
    return (
        "import torchvision\n"
        f"model = torchvision.models.get_model({_quoted(name)}, weights={chosen})\n"
        f"# replace its last linear layer by torch.nn.Linear(..., {n_classes})"
    )


def _transformers(spec: str, n_classes: int, modality: str, trusted: str) -> str:
    name, version = _hub_name(spec)
    reader, task = ("AutoTokenizer", "SequenceClassification")
    if modality == "image":
        reader, task = ("AutoImageProcessor", "ImageClassification")
    if modality == "tokens":
        task = "TokenClassification"
    return (
        f"from transformers import {reader}, AutoModelFor{task}\n"
        f"reader = {reader}.from_pretrained({name}{version}{trusted})\n"
        f"model = AutoModelFor{task}.from_pretrained(\n"
        f"    {name}{version}{trusted}, num_labels={n_classes}, ignore_mismatched_sizes=True\n)"
    )


def _sentences(spec: str, n_classes: int, _modality: str, trusted: str) -> str:
    name, version = _hub_name(spec)
    return (
        "import torch\nfrom sentence_transformers import SentenceTransformer\n"
        f"body = SentenceTransformer({name}{version}{trusted})\n"
        f"head = torch.nn.Linear(body.get_sentence_embedding_dimension(), {n_classes})\n"
        '# train both: head(body(body.tokenize(texts))["sentence_embedding"])'
    )


def _any(encoder: str, n_classes: int, settings: Mapping[str, Any]) -> str:
    pool, trusted = settings.get("pool"), settings.get("trust_remote_code") is True
    said = (f", pool={_quoted(pool)}" if isinstance(pool, str) else "") + ", trust_remote_code=True" * trusted
    return (
        "import torch\nfrom transferability.encoders import as_trainable, load_encoder\n"
        f"encoder = as_trainable(load_encoder({_quoted(encoder)}{said}))  # encoder.module has the weights\n"
        f"head = torch.nn.LazyLinear({n_classes})\n"
        "# train both: head(encoder.differentiable([encoder.preprocess(item) for item in batch]))"
    )


def _hub_name(spec: str) -> tuple[str, str]:
    """Return the name on a hub and its revision as arguments; a path may have an @ of its own."""
    name, _, revision = spec.partition("@")
    if not revision or not _ON_HUB.fullmatch(name):
        return _quoted(spec), ""
    return _quoted(name), f", revision={_quoted(revision)}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
