"""Fingerprints of made-up rows: equal for equal ids and contents, and for nothing else."""

import numpy as np
import pytest

from transferability.datasets import Dataset


def data(*rows: tuple[str, str]) -> Dataset:
    contents = [content for _, content in rows]
    ids = np.array([name for name, _ in rows])
    return Dataset("rows", "text", ids, contents.__getitem__, lambda row: contents[row].encode())


@pytest.mark.parametrize(
    "other",
    [
        (("a", "b"), ("cd", "e")),  # where one row ends and the next begins
        (("ab", "c"), ("d", "e")),  # where the id ends and the content begins
        (("a", "bcde"),),  # one row in the place of two
        (("d", "e"), ("a", "bc")),
        (("a", "bc"), ("d", "f")),
    ],
)
def test_rows_that_run_together_to_the_same_text_are_other_rows(other: tuple[tuple[str, str], ...]) -> None:
    rows = (("a", "bc"), ("d", "e"))
    assert data(*rows).fingerprint() == data(*rows).fingerprint() != data(*other).fingerprint()
