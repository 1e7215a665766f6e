"""Principal axes against a singular value decomposition: few and many, of more rows than features and of fewer."""

from __future__ import annotations

import array_api_compat
import numpy as np
import pytest

from transferability.scores._principal import PrincipalAxes


@pytest.mark.parametrize("count", [1, 5, 90, 1000])
@pytest.mark.parametrize(("n", "d"), [(300, 100), (100, 300), (40, 6)])
def test_coordinates_are_those_of_the_decomposition(n: int, d: int, count: int) -> None:
    rng = np.random.default_rng(n)
    rows = 3.0 + rng.normal(size=(n, d)) * 0.95 ** np.arange(d)
    centred = rows - rows.mean(axis=0)
    left, roots, _ = np.linalg.svd(centred, full_matrices=False)
    p = min(count, int((roots > 1e-9 * roots[0]).sum()))
    expected = left[:, :p] * roots[:p]
    expected *= np.where(expected.max(0) >= -expected.min(0), 1.0, -1.0)
    found = PrincipalAxes.of(array_api_compat.array_namespace(rows), rows).coordinates(count)
    np.testing.assert_allclose(found, expected, atol=1e-8 * roots[0])
