"""Kill an extraction again and again, at random moments, and look for a lost shard or a wrong byte.

    python benchmarks/kills.py [--kills 200] [--seed 0]

Each child process is killed with SIGKILL after a random time. It begins with a cache that has a quarter of the rows
under another data set, in another order. After each kill, every shard that was finished before is there still,
untouched, and every file under a shard's name has the bytes of the undisturbed run. A child that reaches the end leaves
the folder of the undisturbed run, byte for byte, and the next one begins anew.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferability.datasets import Dataset, load_dataset
from transferability.encoders import Encoder
from transferability.features import FeatureCache, extract_outputs

N_ROWS, SHARD_ROWS, BATCH_SIZE, SECONDS = 400, 10, 5, 0.002  # of a batch: the whole takes about half a second


class Sums:
    """An encoder of two outputs that takes its time."""

    name, modality, n_parameters, pooling, source_class_names, preprocess = "sums", "image", 0, "none", None, None
    outputs = ("features", "rows")

    def identity(self) -> dict[str, Any]:
        """Return what changes the features."""
        return {"source": self.name}

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Return outputs of a batch."""
        time.sleep(SECONDS)
        pixels = np.stack([np.asarray(item, dtype=np.float32) for item in batch]).sum(
            axis=3
        )  # (n, 8, 8, 3) -> (n, 8, 8)
        return {"features": pixels.reshape(len(pixels), -1), "rows": pixels.sum(axis=2)}

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Return the features of a batch."""
        return self.forward(items, ["features"])["features"]


def extract(data: Dataset, folder: Path) -> None:
    """Do the work."""
    encoder: Encoder = Sums()
    cache = FeatureCache(folder, SHARD_ROWS)
    extract_outputs(encoder, data, ["features", "rows"], cache=cache, batch_size=BATCH_SIZE, workers=0)


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes of every file that is not hidden and no lock's, and when it was written."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(".") and path.parent.name != "locks":
            found[str(path.relative_to(folder))] = (path.read_bytes(), path.stat().st_mtime_ns)
    return found


def main() -> None:
    """Run the children and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    data = load_dataset("packaged:digits", limit=N_ROWS)
    fork = multiprocessing.get_context("fork")  # all is imported already: the time goes into kills
    scratch = Path(tempfile.mkdtemp(prefix="kills"))
    extract(data.subset(rng.permutation(N_ROWS)[: N_ROWS // 4]), scratch / "before")
    shutil.copytree(scratch / "before", scratch / "undisturbed")
    started = time.perf_counter()
    extract(data, scratch / "undisturbed")
    whole = time.perf_counter() - started
    expected = {name: content for name, (content, _) in files(scratch / "undisturbed").items()}

    kills = runs = lost = wrong = halves = remains = 0
    seen: dict[str, tuple[bytes, int]] = {}
    place = scratch / "killed"
    shutil.copytree(scratch / "before", place)
    while kills < options.kills:
        child = fork.Process(target=extract, args=(data, place))
        child.start()
        child.join(rng.uniform(0, whole))
        alive = child.is_alive()
        child.kill()
        child.join()
        now = files(place)
        kills += alive
        halves += sum(path.name.startswith(".") for path in place.rglob("*"))
        lost += sum(name not in now or now[name] != was for name, was in seen.items() if name.endswith(".safetensors"))
        wrong += sum(expected.get(name) != content for name, (content, _) in now.items())
        seen = now
        if not alive:
            wrong += set(now) != set(expected)
            # Of a kill between two system calls: a lock nobody holds, a manifest not renamed. `cache prune` takes them.
            remains += sum(path.is_file() and str(path.relative_to(place)) not in expected for path in place.rglob("*"))
            runs += 1
            seen = {}
            shutil.rmtree(place)
            shutil.copytree(scratch / "before", place)
    shutil.rmtree(scratch)
    print(f"{kills} kills, {runs} runs that reached the end, {len(expected)} files each")
    print(f"{halves} half-written files seen after a kill, none of them under a shard's name")
    print(f"lost or rewritten shards: {lost}; files with a wrong byte, or missing: {wrong}")
    print(f"empty locks and temporary manifests that were left beside them: {remains}")
    if lost or wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
