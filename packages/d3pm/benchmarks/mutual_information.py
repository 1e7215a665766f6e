"""What does the mutual-information schedule of a large vocabulary cost, once?

    python benchmarks/mutual_information.py [--states 8192] [--steps 1000]

A nearest-neighbour process over random embeddings with word frequencies of Zipf's law: the eigendecomposition of its
rate matrix, then the schedule. A training run does both once; its checkpoint keeps rate matrix and schedule.
"""

import argparse
import time

import numpy as np
import torch

from d3pm import mutual_information_alphas, nearest_neighbour_rate
from d3pm.spectrum import Spectrum


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--states", type=int, default=8192)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--neighbours", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(options.states, 64))
    p0 = 1 / np.arange(1, options.states + 1)
    clocks = []

    def lap(name):
        clocks.append((time.perf_counter(), time.process_time()))
        if len(clocks) > 1:
            (wall, cpu), (wall_before, cpu_before) = clocks[-1], clocks[-2]
            print(f"{name}: {wall - wall_before:.1f} s, {cpu - cpu_before:.1f} CPU s")

    print(f"K = {options.states}, T = {options.steps}, {torch.get_num_threads()} threads")
    lap("start")
    rate = nearest_neighbour_rate(embeddings, options.neighbours)
    lap("neighbours")
    spectrum = Spectrum.of_rate(rate)
    lap("eigendecomposition")
    alphas = mutual_information_alphas(p0 / p0.sum(), options.steps, spectrum)
    lap("schedule")
    print(f"exponents from {float(alphas[0]):.3g} to {float(alphas[:-1].sum()):.3g} before the last step")


if __name__ == "__main__":
    main()
