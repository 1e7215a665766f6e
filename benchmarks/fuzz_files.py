"""Damaged, hostile and lying files of every stored kind, and options that cannot be: what does a reader make of them?

Each input is made from a good one and a seed: bits flipped, bytes cut, moved and repeated, fields of JSON and TOML
replaced by what nobody writes. Then it is read as users read it. Allowed is one of two ends: a value, or one of
our errors. Where a file has a checksum, the value must be the one that was written. Writers get a limit on the size of
files: the old file must stay, and nothing else.

    python benchmarks/fuzz_files.py [--count 600] [--seed 0] [KIND ...]
"""

from __future__ import annotations

import argparse
import collections
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

from _stored_kinds import Kind, kinds, prepare

from transferability import TransferabilityError

SECONDS = 20  # that one input may take


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def outcome(kind: Kind, good: Path, place: Path, chance: random.Random, expected: Any) -> tuple[str, str]:
    """Return how one input ended, and more where it must not end so."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(good, place)
    signal.alarm(SECONDS)
    try:
        kind.make(place, chance)
        value = kind.read(place)
    except TransferabilityError:
        return "an error of ours", ""
    except (Exception, TimeoutError):  # noqa: BLE001 - what is looked for
        return "A BARE ERROR", traceback.format_exc()
    finally:
        signal.alarm(0)
    if expected is not None and value != expected:
        return "ANOTHER VALUE", ""
    return value if isinstance(value, str) and value.startswith("an error") else "a value", ""


def _too_long(*_: object) -> None:
    raise TimeoutError


def main() -> None:
    """Make, read and count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=400, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("kinds", nargs="*", help="beginnings of the names of kinds; all if left out")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_long)
    failed = total = 0
    with tempfile.TemporaryDirectory() as root:
        good, place = Path(root) / "good", Path(root) / "place"
        good.mkdir()
        os.environ["TRANSFERABILITY_CACHE"] = str(Path(root) / "cache")
        prepare(good)
        for name, kind in kinds().items():
            if options.kinds and not name.startswith(tuple(options.kinds)):
                continue
            counts: collections.Counter[str] = collections.Counter()
            expected = None if kind.exact is None else kind.exact(good)
            shown: set[str] = set()
            for number in range(options.count):
                chance = random.Random(f"{options.seed} {name} {number}")
                ended, more = outcome(kind, good, place, chance, expected)
                counts[ended] += 1
                if ended.isupper() and more.splitlines()[-1:] != [] and more.splitlines()[-1] not in shown:
                    shown.add(more.splitlines()[-1])
                    print(f"--- {name} {number}\n{more[-1500:]}", file=sys.stderr)
                elif ended.isupper() and not more:
                    print(f"--- {name} {number}: {ended}", file=sys.stderr)
            total += options.count
            failed += sum(count for ended, count in counts.items() if ended.isupper())
            print(f"{name:32s}" + ", ".join(f"{count} {ended}" for ended, count in counts.most_common()), flush=True)
    print(f"{total} inputs, {failed} of them ended as they must not")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
