"""Samples and features as files: pictures, text, arrays."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d3pm.checkpoint import Checkpoint, load_checkpoint
from d3pm.config import DataConfig
from d3pm.data import DataSpec, check_fits, load_data
from d3pm.device import choose_device
from d3pm.encoder import DiffusionEncoder
from d3pm.errors import OptionError, check_choice, check_number, require_extra
from d3pm.generation import generate
from d3pm.guidance import class_labels, guided
from d3pm.lengths import choose_lengths, mask_of_lengths
from d3pm.whole import load_whole

__all__ = ["choose_method", "picture_grid", "run_encode", "run_sample"]


def choose_method(method: str | None, first_hitting: bool) -> str | None:
    """Return the method of two options that name it, which must agree."""
    if first_hitting and method not in (None, "first_hitting"):
        message = f"`first_hitting` means `method` = 'first_hitting', and `method` is {method!r}; pass one of them."
        raise OptionError(message)
    return "first_hitting" if first_hitting else method


def run_sample(
    checkpoint: Path,
    out: Path | None = None,
    *,
    n: int = 16,
    options: Mapping[str, Any] | None = None,
    length: int | None = None,
    prompt: str | None = None,
    label: int | None = None,
    guidance: float = 0.0,
    progress: Path | None = None,
    seed: int = 0,
    device: str | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Draw samples as the recipe says, with other `options` of a `GenerationConfig` in place; write them to `out`.

    Texts are as long as the training texts were, where these differ in length, or all of one `length`.
    """
    check_number(n, "n", 1, whole=True)
    chosen = choose_device(device)
    model = load_checkpoint(checkpoint, chosen)
    generation = model.config.sample.override(**options or {})
    _check_files(model.spec, out, progress)
    _check_apart(model.config.data.path, out, progress)
    for path in filter(None, (out, progress)):
        path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator(chosen).manual_seed(seed)
    given, keep = _prompted(model, prompt, n, length)
    lengths = choose_lengths(model, n, length, prompt is not None, generator)
    model.config.loss.say_untrained("which samples pass through")
    frames: list[np.ndarray] = []
    tokens = generate(
        model.process,
        guided(model, guidance),
        (n, *model.spec.shape),
        generation,
        condition=class_labels(model, label, n),
        given=given,
        keep=keep,
        attention_mask=None if lengths is None else mask_of_lengths(lengths, model.spec),
        generator=generator,
        device=chosen,
        watch=(lambda t, x: frames.append(x[:8].cpu().numpy())) if progress else None,
    )
    if progress is not None:
        _save_progress(progress, model.spec, frames)
    _save_samples(out, model.spec, tokens.cpu().numpy(), None if lengths is None else lengths.cpu().numpy(), say)


def _check_files(spec: DataSpec, out: Path | None, progress: Path | None) -> None:
    """Refuse files that samples of such data cannot be written to, before any is drawn."""
    if progress is not None and spec.modality != "image":
        message = "`progress` draws pictures; this model writes text."
        raise OptionError(message)
    if progress is not None and progress.suffix != ".png":
        message = f"`progress` must end in .png; got {progress}."
        raise OptionError(message)
    if progress is not None and out is not None and progress.resolve() == out.resolve():
        message = f"`progress` must be another file than `out`; both are {out}."
        raise OptionError(message)
    if out is None and spec.modality == "image":
        message = "`out` must name a .png or .npz file for pictures."
        raise OptionError(message)
    if out is not None and out.suffix not in ((".png", ".npz") if spec.modality == "image" else (".txt", ".npz")):
        message = f"`out` must end in .png or .npz for pictures, .txt or .npz for text; got {out}."
        raise OptionError(message)


def _check_apart(data: str, *files: Path | None) -> None:
    """Refuse to write over the data."""
    for path in files:
        if data and path is not None and path.resolve() == Path(data).resolve():
            message = f"`out` and `progress` must be other files than the data, which {path} holds."
            raise OptionError(message)


def _save_progress(path: Path, spec: DataSpec, frames: list[np.ndarray]) -> None:
    """Draw the way of the first samples from noise to data, a row each."""
    chosen = np.linspace(0, len(frames) - 1, min(9, len(frames))).round().astype(int)
    rows = np.stack([frames[i] for i in chosen], 1)  # (8, times, *shape)
    save_picture(path, picture_grid(spec.to_pixels(rows.reshape(-1, *spec.shape)), columns=len(chosen)))


def _save_samples(
    out: Path | None, spec: DataSpec, tokens: np.ndarray, lengths: np.ndarray | None, say: Callable[[str], None]
) -> None:
    if out is not None and out.suffix == ".npz":
        arrays: dict[str, Any] = {"samples": spec.to_pixels(tokens) if spec.modality == "image" else tokens}
        if lengths is not None:
            arrays["lengths"] = lengths
        np.savez(out, **arrays)
    elif out is not None and out.suffix == ".png":
        save_picture(out, picture_grid(spec.to_pixels(tokens)))
    else:
        rows = tokens if lengths is None else [row[:n] for row, n in zip(tokens, lengths, strict=True)]
        lines_end = bool(spec.alphabet or spec.tokenizer) and spec.codec.end is not None  # a text may have several
        text = ("\n\n" if lines_end else "\n").join(spec.decode_text(spec.without_frame(row)) for row in rows)
        if out is None:
            say(text)
        else:
            out.write_text(text + "\n", encoding="utf-8")
    if out is not None:
        say(str(out))


def picture_grid(pictures: np.ndarray, columns: int | None = None, scale: int = 0) -> np.ndarray:
    """Tile pictures (n, H, W[, 3]) into one, with a border of a pixel, small ones enlarged."""
    n, height, width = pictures.shape[:3]
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, *pictures.shape[3:]), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * (height + 1) + 1, i % columns * (width + 1) + 1
        sheet[y : y + height, x : x + width] = picture
    scale = scale or max(1, 400 // max(sheet.shape[:2]))
    return sheet.repeat(scale, 0).repeat(scale, 1)


def save_picture(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG."""
    image = require_extra("PIL.Image", "data", "writing pictures")
    image.fromarray(pixels).save(path)


def run_encode(encoder: DiffusionEncoder, out: Path, data: str | None, part: str | None = None) -> None:
    """Write features, labels and names of rows: of a file like the recipe's data, all of it in order; or of a part.

    Without `data` the part is by default "test", of the recipe's own.
    """
    part = check_choice(part or ("test" if data is None else "all"), ("train", "test", "all"), "part")
    if out.suffix != ".npz":
        message = f"`out` must end in .npz; got {out}."
        raise OptionError(message)
    spec = encoder.checkpoint.spec
    config: DataConfig = encoder.checkpoint.config.data
    # The net is told no class: labels are only written.
    config = dataclasses.replace(config, conditional=False, path=config.path if data is None else data)
    _check_apart(config.path, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    if part == "all" and config.path:
        examples, arrays["ids"], labels, classes = load_whole(config, spec)
        if labels is not None and classes:
            arrays["class_names"] = np.array(classes)
    else:
        dataset = load_data(config, spec, say_unlabelled=True)
        check_fits(dataset.spec, spec)
        if part == "all":
            message = "`part` must be train or test for data that come with a library; got all."
            raise OptionError(message)
        examples = dataset.train_examples() if part == "train" else dataset.test_examples()
        labels = dataset.train_labels if part == "train" else dataset.test_labels
    if labels is not None:
        arrays["labels"] = labels
    rows = [examples.rows(slice(start, start + 256)) for start in range(0, len(examples.tokens), 256)]
    np.savez(out, features=np.concatenate([encoder.encode(batch) for batch in rows]), **arrays)


def _prompted(model: Checkpoint, prompt: str | None, n: int, length: int | None) -> tuple[Tensor | None, Tensor | None]:
    """Return given tokens and where to keep them: all characters of the prompt but `_`, as the codec reads them."""
    if prompt is None:
        return None, None
    spec = model.spec
    if spec.modality != "text" or not spec.alphabet:
        message = "`prompt` needs a model of characters."
        raise OptionError(message)
    whole, most = spec.shape[0], length or spec.shape[0]
    if len(prompt) > most:
        message = f"`prompt` must have at most {most} characters; got {len(prompt)}."
        raise OptionError(message)
    given, keep = torch.zeros(whole, dtype=torch.long), torch.zeros(whole, dtype=torch.bool)
    start = 0
    for stretch in prompt.split("_"):
        inside = slice(start, start + len(stretch))
        given[inside], keep[inside] = torch.from_numpy(_read_unchanged(spec, stretch)), True
        start += len(stretch) + 1
    return given.expand(n, -1), keep.expand(n, -1)


def _read_unchanged(spec: DataSpec, text: str) -> np.ndarray:
    """Return the tokens of a text, one per character; refuse what the codec would change beyond capitals."""

    def unchanged(part: str) -> bool:
        lowered = "".join(map(str.lower, part))  # each by itself, as the codec does: Σ at the end of a word is no ς
        return spec.decode_text(spec.encode_text(part)) in (part, lowered)

    if unchanged(text):
        return spec.encode_text(text)
    strange = next((character for character in text if not unchanged(character)), None)
    if strange is None:
        message = "`prompt` must not repeat spaces: in the texts of this model they stand alone. Fill in with `_`."
    else:
        known = f"{spec.alphabet!r}, and `_`"
        message = f"`prompt` must be of the characters that this model writes, {known}; got {strange!r}."
    raise OptionError(message)
