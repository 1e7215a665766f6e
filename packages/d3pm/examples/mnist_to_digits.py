"""From data to a ranking, with no hub: pre-train on MNIST, and see how its layers transfer to other digits.

    python examples/mnist_to_digits.py [--steps 600] [--out runs/mnist-encoder]

A masked diffusion model of MNIST is trained without labels (the `mnist_encoder` recipe). Each of its layers is an
encoder; so are the same layers before any training. The target task is scikit-learn's 8 × 8 digits, the reference task
MNIST. Needs `transferability` and the extra `data`; three CPU minutes.
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transferability import Task, TaskRelatedness, scores

from d3pm.checkpoint import load_checkpoint
from d3pm.config import load_recipe
from d3pm.data import load_data
from d3pm.encoder import DiffusionEncoder
from d3pm.training import train


def probe(features, labels, n_train=1000):
    """Accuracy of a linear classifier on what is left: what a ranking tries to predict."""
    scaler = StandardScaler().fit(features[:n_train])
    model = LogisticRegression(max_iter=500, C=0.1).fit(scaler.transform(features[:n_train]), labels[:n_train])
    return model.score(scaler.transform(features[n_train:]), labels[n_train:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", default="runs/mnist-encoder")
    options = parser.parse_args()

    config = load_recipe("mnist_encoder", (f"train.steps={options.steps}",))
    mnist = load_data(config.data)
    path = train(config, options.out, data=mnist, report=lambda step, values: print(step, f"{values['bits']:.3f}"))
    trained = DiffusionEncoder(path)
    untrained = DiffusionEncoder(load_checkpoint(path))
    torch.manual_seed(0)
    for layer in untrained.checkpoint.denoiser.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()

    digits = load_digits()
    target_pictures = list((digits.images * (255 / 16)).round().astype(np.uint8))
    target_labels = digits.target.astype(np.int64)
    reference_tokens = torch.from_numpy(mnist.train[:1500].astype(np.int64))
    reference_labels = mnist.train_labels[:1500].astype(np.int64)

    rows = []
    for name, encoder in (("trained", trained), ("untrained", untrained)):
        reference = encoder.encode_multi(reference_tokens, pool="grid")
        target = encoder.encode_multi(target_pictures, pool="grid")
        for layer in encoder.layers:
            bound = TaskRelatedness(tau=0.2).fit(
                Task(reference[layer], reference_labels, name="mnist"),
                Task(target[layer], target_labels, name="digits"),
            )
            logme = float(scores.logme(target[layer], target_labels))
            rows.append((bound.bound, f"{name} {layer}", logme, probe(target[layer], target_labels)))

    print(f"{'encoder':24} {'bound':>8} {'LogME':>8} {'probe':>8}")
    for bound, name, logme, accuracy in sorted(rows):
        print(f"{name:24} {bound:8.3f} {logme:8.3f} {accuracy:8.3f}")


if __name__ == "__main__":
    main()
