"""What to do after a ranking: code that fine-tunes the first encoder, and the command that confirms the first few."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Step", "next_steps"]

_SHORTLIST = 3
_NO_WEIGHTS = ("features:", "python:")
"""Files and functions: there is nothing to train."""
_PLAIN = re.compile(r"[\w ./:,@#%+={}~-]{1,300}")
"""Names that can be pasted into code and commands as they are; for others nothing is proposed."""


class Step(NamedTuple):
    """One thing to do: what it gives, and the code or command for it."""

    title: str
    code: str
    language: str  # "python" or "sh"


def next_steps(record: Mapping[str, Any]) -> list[Step]:
    """Return what to do with a ranking.

    Parameters
    ----------
    record : mapping
        `Ranking.to_dict()`.
    """
    entries = record["ranking"]
    best = entries[0]
    n_classes = len(best["relatedness"]["per_class"])
    made = record.get("made") or {}
    data = made.get("data") or [{}]
    identifier = _identifier(best)
    code = _snippet(identifier, n_classes, str(data[0].get("kind", ""))) if _PLAIN.fullmatch(identifier) else None
    steps = [] if code is None else [Step(f"Fine-tune {identifier}", code, "python")]
    named = [name for each in entries if _PLAIN.fullmatch(name := _identifier(each))]
    # What has no prefix is in memory: no command can name it.
    trainable = [name for name in named if ":" in name and not name.startswith(_NO_WEIGHTS)][:_SHORTLIST]
    if trainable and record.get("confirmation") is None:
        count = len(trainable)
        first = "the first" if trainable == named[:count] else "the first that can be"
        title = f"Fine-tune {first} {count} briefly, and let that decide"
        title = title if count > 1 else f"Fine-tune {trainable[0]} briefly"
        confirmed = _with_confirm(made.get("command"), count)
        if confirmed is not None:
            return [*steps, Step(title, confirmed, "sh")]
        options = [word for name in trainable for word in ("--encoder", name)]
        title = "Measure the accuracy after fine-tuning" + (f" of the first {len(trainable)}" if trainable[1:] else "")
        steps.append(Step(title, shlex.join(["transferability", "validate", _target(made), *options]), "sh"))
    return steps


def _identifier(entry: Mapping[str, Any]) -> str:
    """Return what loads an encoder; of a hidden layer, and in records of early versions, the name."""
    return str(entry.get("identifier") or entry["encoder"])


def _with_confirm(command: str | None, count: int) -> str | None:
    """Return the command that made a ranking with fine-tuning added; what it computed before is in the cache."""
    try:
        words = shlex.split(command or "")
    except ValueError:
        return None
    if len(words) < 2 or words[1] != "rank" or not all(map(_PLAIN.fullmatch, words)) or "--json" in words:
        return None
    return shlex.join(["transferability", *words[1:], "--confirm", str(count)])


def _target(made: Mapping[str, Any]) -> str:
    """Return the identifier of the target, or a word to be replaced."""
    target = str(made.get("target") or "")
    return target if _PLAIN.fullmatch(target) else "DATA"


def _snippet(encoder: str, n_classes: int, modality: str) -> str | None:
    prefix, _, name = encoder.partition(":")
    if not name or encoder.startswith(_NO_WEIGHTS):
        return None
    spec, _, revision = name.rpartition("@") if prefix == "hf" and "@" in name else (name, "", "")
    quoted, version = (
        json.dumps(spec or name, ensure_ascii=False),
        f", revision={json.dumps(revision)}" * bool(revision),
    )
    if prefix == "timm":
        return (
            "import timm\n"
            f"model = timm.create_model({quoted}, pretrained=True, num_classes={n_classes})\n"
            "config = timm.data.resolve_model_data_config(model)\n"
            "transform = timm.data.create_transform(**config, is_training=True)"
        )
    if prefix == "torchvision":
        return (
            "import torchvision\n"
            f'model = torchvision.models.get_model({quoted}, weights="DEFAULT")\n'
            f"# replace its last linear layer by torch.nn.Linear(..., {n_classes})"
        )
    if prefix == "hf":
        reader, task = ("AutoTokenizer", "SequenceClassification")
        if modality == "image":
            reader, task = ("AutoImageProcessor", "ImageClassification")
        if modality == "tokens":
            task = "TokenClassification"
        return (
            f"from transformers import {reader}, AutoModelFor{task}\n"
            f"reader = {reader}.from_pretrained({quoted}{version})\n"
            f"model = AutoModelFor{task}.from_pretrained(\n"
            f"    {quoted}{version}, num_labels={n_classes}, ignore_mismatched_sizes=True\n)"
        )
    if prefix == "st":
        return (
            "import torch\nfrom sentence_transformers import SentenceTransformer\n"
            f"body = SentenceTransformer({quoted})\n"
            f"head = torch.nn.Linear(body.get_sentence_embedding_dimension(), {n_classes})\n"
            '# train both: head(body(body.tokenize(texts))["sentence_embedding"])'
        )
    whole = json.dumps(encoder, ensure_ascii=False)
    return (
        "import torch\nfrom transferability.encoders import load_encoder\n"
        f"encoder = load_encoder({whole})  # encoder.module has the weights, where torch runs them\n"
        f"head = torch.nn.LazyLinear({n_classes})\n"
        "# train both: head(encoder.differentiable([encoder.preprocess(item) for item in batch]))"
    )
