"""The JSON Schemas in docs/schema, written from `transferability.report.json_schema`.

`python docs/tools/json_schema.py` writes them; a test sees that they are current.
"""

from __future__ import annotations

import json
from pathlib import Path

from transferability.report.json_schema import SCHEMAS

__all__ = ["FOLDER", "files"]

FOLDER = Path(__file__).parents[1] / "schema"


def files() -> dict[Path, str]:
    """Return the path of each schema, and what is to be in it."""
    return {
        FOLDER / f"{name}.schema.json": json.dumps(make(), indent=2, ensure_ascii=False) + "\n"
        for name, make in SCHEMAS.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text, "utf-8")
