"""Whether the Hugging Face hub answers, and what its libraries do where it does not."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

__all__ = ["endpoint", "hub_problem", "is_no_name", "offline_where_it_does_not_answer", "refusal"]

_YES = ("1", "ON", "YES", "TRUE")
_TIMEOUT = 5.0  # seconds; a hub that takes longer to say that it is there takes too long to download from
_FRESH = 60.0  # seconds for which an answer holds: a notebook outlives a lost connection


def hub_problem() -> str | None:
    """Return why nothing can be downloaded from the hub, or None where it answers; asked once in a minute."""
    offline = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name, "").upper() in _YES]
    if offline:
        return f"{offline[0]} is set"
    if find_spec("huggingface_hub") is None:
        return "the package `huggingface_hub` is not installed"
    return _asked(int(time.monotonic() // _FRESH))


@functools.lru_cache(maxsize=1)
def _asked(_minute: int) -> str | None:
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    try:
        get_session().head(endpoint(), timeout=_TIMEOUT)
    except Exception:  # noqa: BLE001 - of whatever library carries the request
        return f"{endpoint()} does not answer"
    return None


def endpoint() -> str:
    """Return the address of the hub, or of the mirror that HF_ENDPOINT names."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


@contextmanager
def offline_where_it_does_not_answer() -> Iterator[None]:
    """Keep the hub's libraries from asking a hub that does not answer: each file would be tried for half a minute."""
    if hub_problem() is None or find_spec("huggingface_hub") is None:
        yield
        return
    from huggingface_hub import constants

    config = getattr(sys.modules.get("datasets"), "config", None)  # read its own copy at import
    before, of_datasets = constants.HF_HUB_OFFLINE, getattr(config, "HF_HUB_OFFLINE", None)
    constants.HF_HUB_OFFLINE = True
    if config is not None:
        config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        if config is not None:
            config.HF_HUB_OFFLINE = of_datasets


def refusal(error: BaseException) -> str | None:
    """Return in one sentence why the hub gave nothing, and what to do; None where the error is not the hub's."""
    names = {type(each).__name__ for each in _chain(error)}
    if "GatedRepoError" in names:
        page = f"its page at {endpoint()}"
        return f"its authors ask for terms to be accepted. Accept them on {page}, and log in: hf auth login."
    if names & {"RepositoryNotFoundError", "RevisionNotFoundError"}:
        what = "no such revision of it" if "RevisionNotFoundError" in names else "nothing of this name"
        return f"{endpoint()} has {what}. Check it; what is not public needs a login: hf auth login."
    if "HFValidationError" in names:
        return (
            "this is no name that a model can have on the hub. Write ORG/NAME, or the path of a folder that is there."
        )
    problem = hub_problem() if names & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError"} else None
    if problem is None:
        return None
    return f"it is not in the cache of the hub, and {problem}. Fetch it elsewhere and carry the cache over (HF_HOME)."


def is_no_name(error: BaseException) -> bool:
    """Tell whether the hub has nothing of the name that was given."""
    wrong = {"RepositoryNotFoundError", "RevisionNotFoundError", "HFValidationError"}
    return bool({type(each).__name__ for each in _chain(error)} & wrong)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
