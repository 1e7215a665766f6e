"""What would be taken and change nothing, or could not be told apart: refused before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferability.encoders.naming import split_alias
from transferability.errors import OptionError
from transferability.pipeline.data import Part, Split
from transferability.relatedness.estimator import TaskRelatedness
from transferability.settings import Settings

__all__ = [
    "check_matching",
    "check_names",
    "check_target_names",
    "check_test_share",
    "check_uses_labels",
    "check_without_reference",
]

_ITSELF = ("assignment", "identity")  # what the own other half does, and the default


def check_without_reference(estimator: TaskRelatedness, settings: Settings, targets: Sequence[Part]) -> None:
    """Raise for what changes nothing where the target's own other half is the reference: `matching`, `test_share`.

    Raises
    ------
    OptionError
    """
    check_matching(estimator)
    check_test_share(settings, targets)


def check_matching(estimator: TaskRelatedness) -> None:
    """Raise where a class matching is asked for and there is no reference but the target's own other half.

    Raises
    ------
    OptionError
    """
    matching = estimator.matching
    if isinstance(matching, str) and matching in _ITSELF:
        return
    shown = repr(matching) if isinstance(matching, str) else ",".join(map(str, np.asarray(matching).ravel()))
    message = "`matching` must be left out without a reference: each class of the target is then matched with itself; "
    message += f"got {shown:.60}. Give a reference (--reference DATA), or leave it out."
    raise OptionError(message)


def check_test_share(settings: Settings, targets: Sequence[Part]) -> None:
    """Raise where the share of a test part is asked for and no target has a part that is drawn.

    Raises
    ------
    OptionError
        Naming the first target, and what makes the share count.
    """
    if settings.test_share == Settings.test_share or not targets:
        return
    if any(not isinstance(part, Split) or (part.folds is None and part.dataset.in_test is None) for part in targets):
        return
    first = targets[0]
    assert isinstance(first, Split)  # all are
    message = f"`test_share` must be left out for target {first.name!r}: "
    if first.folds is None:
        message += (
            f"it comes with a test part of its own, which is measured; got {settings.test_share:g}. Leave it out."
        )
        raise OptionError(message)
    message += f"its {len(first.dataset):,} rows are measured in {len(first.folds)} folds, each row once; got "
    message += f"{settings.test_share:g}. Take folds=1 (--folds 1) for one split, or leave it out."
    raise OptionError(message)


def check_target_names(targets: Sequence[Part]) -> None:
    """Raise where two targets have one name, under which their results would stand.

    Raises
    ------
    OptionError
    """
    names = [part.name for part in targets]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        message = f"targets must have names of their own, by which results are told apart; {names.count(twice)} are "
        raise OptionError(message + f"called {twice!r}. Rename a file or folder, or take them one by one.")


def check_names(encoders: Sequence[Any]) -> None:
    """Raise where two encoders that are not the same have one name.

    Raises
    ------
    OptionError
        Naming both.
    """
    named: dict[str, Any] = {}
    for each in encoders:
        alias, name = split_alias(each) if isinstance(each, str) else (None, each.name)
        other = named.setdefault(alias or name, each)
        if other is not each and other != each:
            both = " and ".join(one if isinstance(one, str) else f"an encoder {one.name!r}" for one in (other, each))
            message = f"encoders must have names of their own; {both} have one, {alias or name!r}. "
            raise OptionError(message + "Write another before the equals sign.")


def check_uses_labels(settings: Settings) -> None:
    """Refuse, before anything is computed, a target without its labels that is to be its own reference."""
    if not settings.use_labels:
        message = "`unlabelled` must go with a reference: without one the target's own other half is it, which needs "
        raise OptionError(message + "labels. Name labelled data with `--reference` (`references` in Python).")
