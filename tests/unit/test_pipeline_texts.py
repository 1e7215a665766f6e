"""What an encoder did not read of the texts is said with its rank."""

import json

import numpy as np

from transferability import rank
from transferability.encoders.base import Reading
from transferability.pipeline import Settings


class Letters:
    """Counts letters among the first six."""

    name, modality, n_parameters = "test:letters", "text", 0

    def identity(self):
        return {"source": self.name}

    def encode(self, items):
        return np.array([[item[:6].count(letter) for letter in "abcde"] for item in items], dtype=np.float32)

    def reading(self, items):
        return Reading(6, sum(len(item) > 6 for item in items), unknown=False)


def write(path, seed, longest):
    rng = np.random.default_rng(seed)
    rows = ["text,label"]
    for number in range(80):
        label = number % 2
        text = "".join(rng.choice(list("aabcd" if label else "cdeeb"), rng.integers(4, longest)))
        rows.append(f"{text},{'xy'[label]}")
    path.write_text("\n".join(rows) + "\n")
    return f"csv:{path}"


def test_texts_that_are_cut_are_said(tmp_path):
    target, reference = write(tmp_path / "long.csv", 0, 12), write(tmp_path / "short.csv", 1, 6)
    ranking = rank(target, reference, [Letters()], settings=Settings(cache=False))
    (entry,) = ranking.entries
    assert "of the texts of data 'long'" in entry.notes["texts"]
    assert "are longer than the 6 tokens that encoder 'test:letters' reads" in entry.notes["texts"]
    assert "short" not in entry.notes["texts"]
    assert entry.notes["texts"] in json.dumps(ranking.to_dict(), ensure_ascii=False)
    assert "texts" not in rank(reference, reference, [Letters()], settings=Settings(cache=False)).best.notes
