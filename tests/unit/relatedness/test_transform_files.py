"""Files of transformations: the map as factors, and as a whole matrix, as all files were before."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from transferability import Relatedness, Task, TaskRelatedness
from transferability.errors import FileDamagedError
from transferability.relatedness.results.transform import Transform

N, D, K = 120, 200, 3


@pytest.fixture(scope="module")
def result() -> Relatedness:
    rng = np.random.default_rng(0)
    labels = np.arange(N) % K
    centres = 2 * rng.normal(size=(K, D))
    tasks = [Task(centres[labels] + 4 * rng.normal(size=(N, D)), labels) for _ in range(2)]
    return TaskRelatedness(tau=0.5).fit(*tasks)


def test_a_file_holds_the_factors_and_predicts_the_same(result: Relatedness, tmp_path: Path) -> None:
    z = np.random.default_rng(1).normal(size=(20, D))
    result.transform.save(tmp_path / "map.safetensors")
    arrays = load_file(tmp_path / "map.safetensors")
    assert arrays["left"].shape == (D, K - 1)
    assert arrays["right"].shape == (K - 1, D)
    assert (tmp_path / "map.safetensors").stat().st_size < D * D * 8 / 4
    loaded = Transform.load(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(z), result.predict_proba(z))
    np.testing.assert_array_equal(loaded.map, result.transform.map)


def test_a_file_of_the_whole_matrix_predicts_the_same(result: Relatedness, tmp_path: Path) -> None:
    z = np.random.default_rng(1).normal(size=(20, D))
    result.transform.save(tmp_path / "new.safetensors")
    arrays = load_file(tmp_path / "new.safetensors")
    del arrays["left"], arrays["right"]
    old = {"map": result.transform.map, **arrays}
    save_file(old, tmp_path / "old.safetensors", {"transferability": '{"format": 1, "holds": "transform"}'})
    loaded = Transform.load(tmp_path / "old.safetensors")
    np.testing.assert_allclose(loaded.predict_proba(z), result.predict_proba(z), atol=1e-15)
    loaded.save(tmp_path / "again.safetensors")
    assert "map" in load_file(tmp_path / "again.safetensors")


@pytest.mark.parametrize("broken", ["left", "right"])
def test_factors_that_do_not_fit_are_refused(result: Relatedness, tmp_path: Path, broken: str) -> None:
    result.transform.save(tmp_path / "map.safetensors")
    arrays = load_file(tmp_path / "map.safetensors")
    arrays[broken] = np.ascontiguousarray(arrays[broken].T)
    save_file(arrays, tmp_path / "map.safetensors", {"transferability": '{"format": 2, "holds": "transform"}'})
    with pytest.raises(FileDamagedError, match="must be float64 of shape"):
        Transform.load(tmp_path / "map.safetensors")
