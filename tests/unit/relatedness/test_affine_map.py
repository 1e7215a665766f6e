import numpy as np
import pytest

from transferability.relatedness.maps.affine_map import AffineMap, FactoredMap


def factored(d_out: int, d_in: int) -> FactoredMap:
    rng = np.random.default_rng(d_out + d_in)
    return FactoredMap(rng.normal(size=(d_out, 2)), rng.normal(size=(2, d_in)), rng.normal(size=d_out))


@pytest.mark.parametrize(("d_out", "d_in"), [(5, 5), (3, 6), (6, 3)])
def test_factors_do_what_their_matrix_does(d_out: int, d_in: int) -> None:
    rng = np.random.default_rng(0)
    narrow = factored(d_out, d_in)
    whole = AffineMap(np.eye(d_out, d_in) + narrow.left @ narrow.right, narrow.offset)
    z, W, c = rng.normal(size=(7, d_in)), rng.normal(size=(4, d_out)), rng.normal(size=4)
    left, right, offset = rng.normal(size=(d_out, 1)), rng.normal(size=(1, d_in)), rng.normal(size=d_out)
    assert narrow.shape == whole.shape == (d_out, d_in)
    np.testing.assert_allclose(narrow.matrix, whole.matrix, atol=1e-15)
    np.testing.assert_allclose(narrow.apply(z), whole.apply(z), atol=1e-13)
    np.testing.assert_allclose(narrow.then(W, c).apply(z), whole.then(W, c).apply(z), atol=1e-13)
    corrected = [each.corrected(left, right, offset).apply(z) for each in (narrow, whole)]
    np.testing.assert_allclose(*corrected, atol=1e-13)  # type: ignore[call-overload]
    np.testing.assert_allclose(narrow.inverse().matrix, whole.inverse().matrix, atol=1e-12)


def test_single_precision_is_mapped_in_single_precision() -> None:
    z = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    found = factored(5, 5).apply(z)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, factored(5, 5).apply(z.astype(np.float64)), rtol=1e-4, atol=1e-5)
