"""The scikit-learn face of the estimator."""

from __future__ import annotations

import numpy as np
import pytest

from transferability import TaskRelatedness
from transferability.errors import OptionError

sklearn_base = pytest.importorskip("sklearn.base")

CASES = [
    {},
    {"tau": [0.1, 0.2], "ground_cost": "loss", "scale": False},
    {"matching": [2, 0, 1], "seed": 3},
    {"matching": np.eye(3)},
    {"solver": "sgd", "epochs": 5},
    {"solver": "statistics", "ground_cost": "gamma"},
]


@pytest.mark.parametrize("options", CASES)
def test_a_clone_has_the_same_parameters(options: dict) -> None:
    estimator = TaskRelatedness(**options)
    copied = sklearn_base.clone(estimator)
    assert copied is not estimator
    np.testing.assert_equal(copied.get_params(), estimator.get_params())
    np.testing.assert_equal(vars(copied), vars(estimator))


def test_parameters_are_set_as_the_constructor_sets_them() -> None:
    estimator = TaskRelatedness(seed=1)
    assert estimator.set_params(tau=0.5, scale=False) is estimator
    assert (estimator.tau, estimator.scale, estimator.seed) == (0.5, False, 1)
    with pytest.raises(OptionError, match="Did you mean 'tau'"):
        estimator.set_params(tua=1.0)
    with pytest.raises(OptionError, match="seed"):
        estimator.set_params(seed=-1)
    assert estimator.seed == 1


def test_the_repr_shows_what_was_changed() -> None:
    assert repr(TaskRelatedness()) == "TaskRelatedness()"
    assert repr(TaskRelatedness(0.5, union=True)) == "TaskRelatedness(tau=0.5, union=True)"
