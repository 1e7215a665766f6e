"""scikit-learn's own checks of `TaskRelatedness`: it claims parameters, clones and a repr, and no `fit(X, y)`.

`fit` takes a reference and a target, each a `Task`, since a relation is of two data sets; a method `fit(X, y)` would
have to hide one of them. So the checks that fit arrays are excused; what they would check is checked of `Relatedness`
(`predict`, `score`) and of `Task` elsewhere.
"""

from __future__ import annotations

from typing import Any

import pytest

from transferability import TaskRelatedness
from transferability.errors import TaskError

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.utils import Tags, TargetTags
from sklearn.utils.estimator_checks import estimator_checks_generator

CLAIMED = {
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_valid_tag_types",
}
BY_DESIGN = {
    "check_do_not_raise_errors_in_init_or_set_params": "a wrong option is refused where it is written",
    "check_parameters_default_constructible": "`ground_cost` and `space` of None become those of the solver at once",
    "check_set_params": "the same: what is read back is what is used",
}


class WithTags(TaskRelatedness):
    """The package imports no scikit-learn, so that the tags which its checks ask for are added here."""

    def __sklearn_tags__(self) -> Any:
        return Tags(estimator_type=None, target_tags=TargetTags(required=True))


def _checks() -> list[Any]:
    with pytest.warns(UserWarning, match="does not inherit from"):
        found = list(estimator_checks_generator(WithTags(), mark=None))
    return [pytest.param(estimator, check, id=check.func.__name__) for estimator, check in found]


CHECKS = _checks()


@pytest.mark.parametrize(("estimator", "check"), [each for each in CHECKS if each.id in CLAIMED | BY_DESIGN.keys()])
@pytest.mark.filterwarnings("ignore:OptionError occurred during set_params")
def test_what_it_claims_holds(estimator: Any, check: Any, request: pytest.FixtureRequest) -> None:
    name = check.func.__name__
    if name in BY_DESIGN:
        request.applymarker(pytest.mark.xfail(reason=BY_DESIGN[name], strict=True))
    check(estimator)


def test_every_claim_is_a_check() -> None:
    assert {*CLAIMED, *BY_DESIGN} <= {each.id for each in CHECKS}


def test_arrays_in_the_place_of_tasks_are_told_what_to_pass() -> None:
    with pytest.raises(TaskError, match=r"must be of type Task; got list. Pass Task\(features, labels\)"):
        TaskRelatedness().fit([[0.0]], [0])
