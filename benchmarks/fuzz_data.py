"""Damaged and hostile data files: none may end in a bare error, a crash, or rows that are not what the file says.

    python benchmarks/fuzz_data.py --count 1000 [--kind csv --kind npz …] [--seed 0]

Each input is a good file of a kind with a few mutations: cut off, bits flipped, bytes inserted, doubled or removed,
sizes in headers made huge, another encoding, numbers of 400 digits. It is loaded, its fingerprint taken and every row
read. Three things can happen: it is *refused* with an error of ours, it is *read*, or it *fails*: with another error,
a message of more than 2,000 characters or more than one line, inconsistent rows, numbers other than an independent
reader finds (`csv` of Python, checksums of archives), or the death of the process. Inputs that fail are kept in
`--keep`. A process of its own reads each kind, so that a crash of a library is counted too.
"""

from __future__ import annotations

import argparse
import collections
import csv
import io
import multiprocessing
import os
import struct
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from _good_files import FEATURES, GOOD, LABELS, PIXELS

_PIXELS = {picture.tobytes() for picture in PIXELS}


# ── identifiers ──────────────────────────────────────────────────────────────────────────────────────────────────────

_MARKS = ("#", ":", "?", "@", ",", "=", "+", "/", "..", "", " ", "\0", "☹", "%s", "{", "[:10%]", "9" * 400, "-1", "~")
_PARTS = (
    "text",
    "label",
    "image",
    "words",
    "tags",
    "target",
    "within",
    "train",
    "test",
    "split",
    "config",
    "streaming",
    "n",
)


def identifier(folder: Path, rng: np.random.Generator) -> str:
    """Return an identifier of good files in a folder, put together at random."""
    for kind, (make, name, _) in GOOD.items():
        place = folder / ("pictures/cat" if kind == "pictures" else "")
        place.mkdir(parents=True, exist_ok=True)
        place.joinpath(name).write_bytes(make(rng))
    prefix = str(
        rng.choice(["csv", "parquet", "npz", "features", "folder", "conll", "hf", "torchvision", "packaged", "x"])
    )
    path = folder / str(rng.choice([*(name for _, name, _ in GOOD.values()), "pictures", "nowhere", ""]))
    text = f"{prefix}:{path}"
    for _ in range(int(rng.integers(0, 6))):
        text += str(rng.choice(_MARKS)) + str(rng.choice(_PARTS))
    return text


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_WORDS = (b"9" * 400, b"-1", b"nan", b"inf", b"1e999", b"", b"\0", b"\xff", b'"', b"\n", b"[" * 2000, "☹".encode())
_SIZES = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 1 << 24)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with one to three mutations."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        at = int(rng.integers(len(content) + 1))
        stop = min(len(content), at + int(rng.integers(1, 40)))
        match int(rng.integers(10)):
            case 0:
                content = content[:at]
            case 1 | 2 | 3:
                flipped = bytearray(content)
                for place in (
                    rng.integers(0, max(1, len(flipped)), size=int(rng.choice([1, 1, 2, 8]))) if flipped else ()
                ):
                    flipped[place] ^= 1 << int(rng.integers(8))
                content = bytes(flipped)
            case 4:
                content = content[:at] + rng.bytes(int(rng.integers(1, 20))) + content[at:]
            case 5:
                content = content[:at] + content[stop:]
            case 6:
                content = content[:stop] + content[at:]
            case 7:
                size = struct.pack(str(rng.choice(["<I", ">I", "<Q"])), _SIZES[int(rng.integers(len(_SIZES)))])
                content = content[:at] + size + content[at + len(size) :]
            case 8:
                content = content[:at] + _WORDS[int(rng.integers(len(_WORDS)))] + content[stop:]
            case _:
                text = content.decode("latin-1")
                content = text.encode(str(rng.choice(["utf-8", "utf-16", "utf-8-sig", "utf-32"])), "replace")
    return content


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(kind: str, path: Path, name: str) -> tuple[str, str]:
    """Return what became of an identifier ("refused", "read" or "failed"), and why."""
    from transferability.datasets import load_dataset, split_rows
    from transferability.errors import TransferabilityError

    try:
        data = load_dataset(name)
        split_rows(data)
        data.fingerprint()
        items = [data.items([row])[0] for row in range(len(data))]
    except TransferabilityError as error:
        text = str(error)
        if len(text) > 2000 or "\n" in text or not text.strip():
            return "failed", f"message of {len(text)} characters, {text.count(chr(10))} line breaks: {text[:200]!r}"
        return "refused", type(error).__name__
    except Exception as error:  # noqa: BLE001 - what is looked for
        return "failed", f"{type(error).__name__}: {str(error)[:200]}"
    fault = inconsistent(kind, path, data, items)
    return ("failed", fault) if fault else ("read", "")


def inconsistent(kind: str, path: Path, data: object, items: list) -> str:
    """Return what is wrong with rows that were read, "" if nothing is."""
    labels, names = data.labels, data.class_names
    if not len(items) == len(data.ids) == len(set(data.ids.tolist())):
        return "as many ids as rows must differ"
    if labels is not None and (len(labels) != len(items) or set(labels.tolist()) != set(range(len(names)))):
        return "labels do not use the classes"
    if kind == "csv":
        return unlike_csv(path.read_bytes(), data, items)
    if kind.startswith("features"):
        known = {row.tobytes() for row in FEATURES}
        if not all(np.asarray(item).tobytes() in known for item in items):
            return "features are not those that were saved"
        if labels is not None and labels.tolist() != LABELS[: len(labels)].tolist():
            return "labels are not those that were saved"
    if kind == "npz" and not all(np.asarray(item)[..., 0].tobytes() in _PIXELS for item in items):
        return "pixels are not those that were saved"
    return ""


def unlike_csv(content: bytes, data: object, items: list) -> str:
    """Compare with Python's own reader."""
    text = content.decode("utf-8-sig")
    header = next(row for row in csv.reader(io.StringIO(text, newline="")) if row)
    marks = [","] if len(header) > 1 else [";", "\t", "|", ","]
    for mark in marks:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if row]
        if len(rows[0]) > 1 and "text" in rows[0]:
            break
    place = rows[0].index("text")
    theirs = [row[place] for row in rows[1:]]
    if theirs != items:
        return f"texts {items[:3]!r:.150} where csv reads {theirs[:3]!r:.150}"
    if "label" in rows[0] and data.labels is not None:
        place = rows[0].index("label")
        mine = [data.class_names[label] for label in data.labels]
        if mine != [row[place] for row in rows[1:]]:
            return f"labels {mine[:4]} where csv reads {[row[place] for row in rows[1:5]]}"
    return ""


def work(kind: str, numbers: range, seed: int, keep: str, results: multiprocessing.Queue) -> None:
    """Read inputs and report each before the next, so that a crash tells which it was."""
    warnings.simplefilter("ignore")
    make, name, pattern = GOOD.get(kind, (None, "identifier.txt", ""))
    for number in numbers:
        rng = np.random.default_rng([seed, number, sum(map(ord, kind))])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            if make is None:
                asked = identifier(Path(folder), rng)
                content = asked.encode("utf-8", "surrogatepass")
            else:
                content = damaged(make(rng), rng)
                path.write_bytes(content)
                asked = pattern.format(path=path, folder=folder)
            outcome, why = read(kind, path, asked)
        if outcome == "failed":
            Path(keep).mkdir(parents=True, exist_ok=True)
            Path(keep, f"{kind}-{number}-{name}").write_bytes(content)
        results.put((number, outcome, why))
    results.put((None, "", ""))


def fuzz(kind: str, count: int, seed: int, keep: str) -> tuple[collections.Counter, list[str]]:
    """Read `count` inputs of a kind in another process, which is started again when it dies."""
    context = multiprocessing.get_context("spawn")
    outcomes: collections.Counter = collections.Counter()
    faults: list[str] = []
    start = 0
    while start < count:
        results = context.Queue()
        process = context.Process(target=work, args=(kind, range(start, count), seed, keep, results))
        process.start()
        while True:
            try:
                number, outcome, why = results.get(timeout=60)
            except Exception:  # noqa: BLE001 - queue.Empty: hung, or dead
                outcomes["failed"] += 1
                faults.append(f"{kind} {start}: the process {'hangs' if process.is_alive() else 'died'}")
                process.kill()
                start += 1
                break
            if number is None:
                start = count
                break
            start = number + 1
            outcomes[outcome] += 1
            if outcome == "failed":
                faults.append(f"{kind} {number}: {why}")
        process.join()
    return outcomes, faults


def main() -> None:
    """Print one line per kind, then what failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="inputs per kind")
    parser.add_argument("--kind", action="append", choices=[*GOOD, "identifiers"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", default="fuzz-failures", help="folder for inputs that fail")
    options = parser.parse_args()
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_DISABLE_PROGRESS_BARS"):  # for the processes that read
        os.environ.setdefault(name, "1")
    faults: list[str] = []
    print(f"{'kind':<22}{'inputs':>8}{'refused':>9}{'read':>7}{'failed':>8}{'seconds':>9}")
    for kind in options.kind or [*GOOD, "identifiers"]:
        started = time.perf_counter()
        outcomes, found = fuzz(kind, options.count, options.seed, options.keep)
        faults += found
        cells = [outcomes.total(), outcomes["refused"], outcomes["read"], outcomes["failed"]]
        print(
            f"{kind:<22}{cells[0]:>8}{cells[1]:>9}{cells[2]:>7}{cells[3]:>8}{time.perf_counter() - started:>9.1f}",
            flush=True,
        )
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
