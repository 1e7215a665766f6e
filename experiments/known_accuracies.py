"""The accuracies of probes and of fine-tuned encoders that expected accuracies rest on, and how often intervals hold.

    python experiments/known_accuracies.py --data FOLDER

Writes `src/transferability/ranking/known_accuracies.json` from the results of real_zoo.py (cross-fitted linear probes
of 1,000 rows) and ``finetuned_truth.json`` in FOLDER. Prints the coverage of the 90 % intervals: each target's
encoders by intervals made of the other targets alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from real_zoo import RESULTS
from real_zoo_features import TARGETS, truth_of

from transferability.ranking.expected import KnownAccuracy, expected_accuracies

FILE = Path(__file__).parents[1] / "src" / "transferability" / "ranking" / "known_accuracies.json"
ABOUT = "linear probe (five folds, 1,000 rows) and fine-tuned test accuracy of packaged encoders of pictures"
PROBE_ROWS = 1000
TEST_ROWS = {"sign_digits": 519}
"""Of targets with fewer than 1,000 (`meta` of the truth)."""


def main() -> None:
    """Write the file and print the coverage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    truth = truth_of(parser.parse_args().data)
    cells = [each for each in json.loads(RESULTS.read_text())["cells"] if (each["encoder"], each["target"]) in truth]
    pairs = [
        KnownAccuracy(
            each["target"],
            each["encoder"],
            round(each["linear probe"], 4),
            round(truth[each["encoder"], each["target"]], 4),
            PROBE_ROWS,
            TEST_ROWS.get(each["target"], 1000),
        )
        for each in cells
    ]
    lines = ",\n  ".join(json.dumps(pair._asdict()) for pair in pairs)
    FILE.write_text(f'{{"about": {json.dumps(ABOUT)},\n "pairs": [\n  {lines}\n ]}}\n')
    held, widths = [], []
    for target in TARGETS:
        own, others = ([pair for pair in pairs if (pair.target == target) == mine] for mine in (True, False))
        found = expected_accuracies([pair.probe for pair in own], others)
        held += [each.low <= pair.fine_tuned <= each.high for each, pair in zip(found, own, strict=True)]
        widths += [each.high - each.low for each in found]
        print(f"{target:20} {sum(held[-len(own) :])} of {len(own)}")
    print(f"{sum(held)} of {len(held)} within 90 % intervals, mean width {100 * np.mean(widths):.0f} points")


if __name__ == "__main__":
    main()
