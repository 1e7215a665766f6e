"""All scores by name, and several at once on one set of features.

Each module declares its own scores in `SCORES`; this one says in which order they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable

from transferability._validate import told_of_features
from transferability.errors import TaskError, TransferabilityError, UnknownNameError, nearest_names
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._result import ScoreResult
from transferability.scores.emms import SCORES as _EMMS
from transferability.scores.energy import SCORES as _ENERGY
from transferability.scores.gbc import SCORES as _GBC
from transferability.scores.hscore import SCORES as _HSCORE
from transferability.scores.knn import SCORES as _KNN
from transferability.scores.lda import SCORES as _LDA
from transferability.scores.leep import SCORES as _LEEP
from transferability.scores.linear_probe import SCORES as _LINEAR_PROBE
from transferability.scores.logme import SCORES as _LOGME
from transferability.scores.n_leep import SCORES as _N_LEEP
from transferability.scores.nce import SCORES as _NCE
from transferability.scores.ncti import SCORES as _NCTI
from transferability.scores.otce import SCORES as _OTCE
from transferability.scores.pactran import SCORES as _PACTRAN
from transferability.scores.parc import SCORES as _PARC
from transferability.scores.ridge_all_layers import SCORES as _RIDGE_ALL_LAYERS
from transferability.scores.sfda import SCORES as _SFDA
from transferability.scores.size import SCORES as _SIZE
from transferability.scores.transrate import SCORES as _TRANSRATE

__all__ = ["ScoreInfo", "ScoreInputs", "available", "compute", "compute_many"]

# First what features and labels suffice for, fastest first where that is no matter of taste.
_SCORES = {
    info.name: info
    for info in (
        *_LOGME, *_HSCORE, *_LDA, *_SFDA, *_NCTI, *_GBC, *_PARC, *_TRANSRATE, *_N_LEEP, *_KNN, *_LINEAR_PROBE,
        *_RIDGE_ALL_LAYERS, *_PACTRAN, *_LEEP, *_NCE, *_EMMS, *_OTCE, *_ENERGY, *_SIZE,
    )
}  # fmt: skip


def available() -> dict[str, ScoreInfo]:
    """Return all scores by name, in the order in which they are shown.

    Examples
    --------
    >>> info = available()["h_score"]
    >>> info.higher_is_better, sorted(info.needs)
    (True, ['features', 'labels'])
    """
    return dict(_SCORES)


def compute(name: str, inputs: ScoreInputs) -> ScoreResult:
    """Compute one score by name.

    Raises
    ------
    UnknownNameError
        If there is no such score.
    TaskError
        If an input that it needs is missing.
    TransferabilityError
        Whatever the score says of its inputs.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]])
    >>> float(compute("knn", ScoreInputs(features=x, labels=np.array([0, 0, 0, 1, 1, 1]))))
    1.0
    """
    if name not in _SCORES:
        message = f"no score is called {name!r}. {nearest_names(name, _SCORES)}"
        raise UnknownNameError(message)
    info = _SCORES[name]
    missing = info.missing(inputs)
    if missing:
        message = f"score {name!r} {missing}; got {', '.join(sorted(inputs.given)) or 'nothing'}."
        raise TaskError(message)
    with told_of_features(repr(name)):
        result = info.function(inputs)
    return result.with_note(inputs.note) if inputs.note and "labels" in info.needs else result


def compute_many(names: Iterable[str], inputs: ScoreInputs) -> tuple[dict[str, ScoreResult], dict[str, str]]:
    """Compute several scores; one that cannot be computed is skipped with its reason, and the others go on.

    What several scores need is made once: class moments, principal axes, the transport plan.

    Parameters
    ----------
    names : iterable of str
        Or just "all" among them.
    inputs : ScoreInputs

    Returns
    -------
    results : dict of str to ScoreResult
    skipped : dict of str to str
        Reasons, by name.

    Raises
    ------
    UnknownNameError
        If there is no such score.
    """
    wanted = list(dict.fromkeys(names))
    if "all" in wanted:
        wanted = list(_SCORES)
    results, skipped = {}, {}
    for name in wanted:
        try:
            results[name] = compute(name, inputs)
        except UnknownNameError:
            raise
        except TransferabilityError as error:
            skipped[name] = str(error)
    return results, skipped
