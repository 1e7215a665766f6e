"""Time every score against a bare product of the same array, in one process on one thread.

    python benchmarks/scores.py                      # everything, as a table
    python benchmarks/scores.py --json logme sfda    # some of it, as JSON
    python benchmarks/scores.py --dtype float32
    python benchmarks/scores.py --together           # every score by itself, and all on one input

Times are CPU seconds. Each score is timed next to a fresh `X.T @ X` (for OTCE next to POT's bare solve), and the ratio
of the two is what counts: it moves little with the machine and its other work. Peak memory is that of a process of its
own, over the array itself. Seconds of public implementations, measured elsewhere, are printed beside.

`--together` times all registered scores at 7,000 × 1,024 twice: each from inputs of its own, and one after the other
from one input, where class moments, principal axes and the transport plan are made once, by the first that needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from transferability import Task, scores
from transferability.statistics import class_moments

N, D, K, Z, TRANSPORTED = 10_000, 2_048, 100, 1_000, 2_000
TOGETHER = {"n": 7_000, "d": 1_024, "k": 10, "z": 100}
PEERS = json.loads((Path(__file__).parent / "scores_peers.json").read_text())
LIMITS = {
    "h_score": 3.0,
    "h_score_shrunk": 3.0,
    "logme": 3.0,
    "lda": 3.0,
    "gbc": 3.0,
    "ncti": 3.0,
    "parc": 3.0,
    "emms": 3.0,
    "energy": 3.0,
    "h_score and logme": 4.0,
    "leep": 0.2,
    "nce": 0.2,
    "sfda": 6.0,
    "pactran_gaussian": 6.0,
    "pactran_dirichlet": 6.0,
    "pactran_gamma": 6.0,
    "n_leep": 15.0,
    "otce": 1.2,
}


class Problem:
    """Noisy clusters with eigenvalues that fall as j^-1.25, and a source classifier of a thousand classes."""

    def __init__(self, dtype: str, *, probabilities: bool, n: int = N, d: int = D, k: int = K, z: int = Z) -> None:
        rng = np.random.default_rng(0)
        self.labels = rng.integers(k, size=n)
        scale = np.arange(1, d + 1) ** -0.625
        centres = 0.5 * rng.standard_normal((k, d))
        self.embeddings = rng.standard_normal((3, k, 512))
        self.features = np.empty((n, d), dtype=dtype)
        for start in range(0, n, 1000):  # in blocks: the memory that is measured must not be that of the generator
            rows = slice(start, start + 1000)
            self.features[rows] = (rng.standard_normal((1000, d)) + centres[self.labels[rows]]) * scale
        self.probabilities = np.empty((0, 0))
        if probabilities:
            weights = 3 * rng.standard_normal((d, z))
            self.probabilities = np.empty((n, z))
            for start in range(0, n, 1000):
                rows = slice(start, start + 1000)
                logits = self.features[rows] @ weights
                logits = np.exp(logits - logits.max(axis=1, keepdims=True))
                self.probabilities[rows] = logits / logits.sum(axis=1, keepdims=True)
        half = TRANSPORTED
        self.source = Task(self.features[:half], self.labels[:half])
        self.target = Task(self.features[half : 2 * half] + np.asarray(0.1, dtype), self.labels[half : 2 * half])

    def calls(self) -> dict[str, Callable[[], Any]]:
        """Return what is timed, by name."""
        features, labels, probabilities = self.features, self.labels, self.probabilities

        def together() -> None:
            moments = class_moments(features, labels)
            scores.h_score_from_moments(moments)
            scores.logme_from_moments(moments)

        return {
            "nce": lambda: scores.nce(probabilities.argmax(axis=1), labels),
            "leep": lambda: scores.leep(probabilities, labels),
            "h_score": lambda: scores.h_score(features, labels),
            "h_score_shrunk": lambda: scores.h_score(features, labels, shrinkage="ledoit-wolf"),
            "logme": lambda: scores.logme(features, labels),
            "h_score and logme": together,
            "transrate": lambda: scores.transrate(features, labels),
            "lda": lambda: scores.lda(features, labels),
            "sfda": lambda: scores.sfda(features, labels),
            "ncti": lambda: scores.ncti(features, labels),
            "gbc": lambda: scores.gbc(features, labels),
            "parc": lambda: scores.parc(features, labels),
            "emms": lambda: scores.emms(features, labels, self.embeddings),
            "energy": lambda: scores.energy(features),
            "pactran_gaussian": lambda: scores.pactran(features, labels),
            "pactran_gaussian, task-relatedness preset": lambda: scores.pactran(
                features, labels, preset="task-relatedness"
            ),
            "pactran_dirichlet": lambda: scores.pactran(probabilities, labels, prior="dirichlet"),
            "pactran_gamma": lambda: scores.pactran(probabilities, labels, prior="gamma"),
            "n_leep": lambda: scores.n_leep(features, labels),
            "knn": lambda: scores.knn(features, labels),
            "linear_probe": lambda: scores.linear_probe(features, labels),
            "otce": lambda: scores.otce(self.source, self.target),
        }

    def bare(self, name: str) -> Callable[[], Any]:
        """Return what a score is compared with."""
        if name != "otce":
            return lambda: self.features.T @ self.features
        import ot

        cost = ot.dist(self.source.features.astype(np.float64), self.target.features.astype(np.float64))
        weights = np.full(TRANSPORTED, 1 / TRANSPORTED)
        return lambda: ot.emd(weights, weights, cost, numItermax=10_000_000)


ON_PROBABILITIES = {"nce", "leep", "pactran_dirichlet", "pactran_gamma"}


def cpu_seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def peak_memory(name: str, dtype: str) -> float:
    """Return the peak of a fresh process over what it held before the call, in copies of the input, input included."""
    command = [sys.executable, __file__, "--memory-of", name, "--dtype", dtype]
    single = {**os.environ, "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(command, check=True, capture_output=True, text=True, env=single).stdout)


def resident_peak() -> int:
    """Peak resident bytes of this process."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def print_peak_memory(name: str, dtype: str) -> None:
    """Run the score once in this process and print its peak."""
    problem = Problem(dtype, probabilities=name in ON_PROBABILITIES)
    call = problem.calls()[name]
    tiny = Problem.__new__(Problem)
    tiny.features, tiny.labels = problem.features[:600, :20], np.arange(600) % 3  # enough for POT to be called
    tiny.probabilities, tiny.embeddings = np.full((600, 5), 0.2), np.eye(3)
    tiny.source = tiny.target = Task(tiny.features, tiny.labels)
    tiny.calls()[name]()  # imports and the like are no part of it
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten (Linux)
    before = resident_peak()
    call()
    extra = resident_peak() - before
    data = problem.probabilities if name in ON_PROBABILITIES else problem.features
    print(1 + extra / data.nbytes)


def print_together(dtype: str) -> None:
    """Time all registered scores, each by itself and all on one input, and print both."""
    problem = Problem(dtype, probabilities=True, **TOGETHER)
    half = len(problem.features) // 2
    rng = np.random.default_rng(1)
    shifted = problem.features[rng.permutation(2 * half)] + np.asarray(0.1, dtype)
    reference = Task(shifted, problem.labels[rng.permutation(2 * half)])

    def inputs() -> scores.ScoreInputs:
        return scores.ScoreInputs(
            problem.features,
            problem.labels,
            problem.probabilities,
            reference,
            n_parameters=10_000_000,
            label_embeddings=problem.embeddings,
        )

    def product() -> None:
        _ = problem.features.T @ problem.features

    product()
    for name in scores.available():
        tiny = scores.ScoreInputs(np.eye(20), np.arange(20) % 2, np.full((20, 2), 0.5), n_parameters=1)
        scores.compute_many([name], tiny)  # lazy imports
    bare = statistics.median(cpu_seconds(product) for _ in range(3))
    one, sums = inputs(), [0.0, 0.0]
    print(f"bare product {bare:.2f} s; seconds by itself, with what others made")
    for name in scores.available():
        seconds = [cpu_seconds(lambda n=name, i=given: scores.compute(n, i)) for given in (inputs(), one)]
        sums = [total + each for total, each in zip(sums, seconds, strict=True)]
        print(f"{name:20s} {seconds[0]:7.2f} {seconds[1]:7.2f}", flush=True)
    print(f"{'all':20s} {sums[0]:7.2f} {sums[1]:7.2f}   ({sums[0] / bare:.1f} and {sums[1] / bare:.1f} × bare)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="scores to measure; all by default")
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--together", action="store_true", help="all scores on one input, at 7,000 × 1,024")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.together:
        print_together(options.dtype)
        return
    if options.memory_of:
        print_peak_memory(options.memory_of, options.dtype)
        return
    problem = Problem(options.dtype, probabilities=True)
    calls = problem.calls()
    rows = []
    for name in options.names or list(calls):
        bare = problem.bare(name)
        calls[name]()  # first touch of memory and of lazy imports
        pairs = [(cpu_seconds(bare), cpu_seconds(calls[name])) for _ in range(options.repetitions)]
        row = {
            "score": name,
            "seconds": statistics.median(own for _, own in pairs),
            "bare_seconds": statistics.median(product for product, _ in pairs),
            "ratio": statistics.median(own / product for product, own in pairs),
            "limit": LIMITS.get(name),
            "peak_copies": peak_memory(name, options.dtype),
            "peers": PEERS["seconds"].get(name, {}),
        }
        rows.append(row)
        if not options.json:
            limit = f"≤ {row['limit']:g}" if row["limit"] else ""
            peers = ", ".join(f"{peer} {seconds:g}" for peer, seconds in row["peers"].items())
            print(
                f"{name:42s} {row['seconds']:8.3f} s {row['ratio']:7.3f} × bare {limit:7s} "
                f"{row['peak_copies']:5.2f} copies   {peers}",
                flush=True,
            )
    if options.json:
        print(json.dumps({"n": N, "d": D, "K": K, "Z": Z, "dtype": options.dtype, "rows": rows}, indent=1))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
