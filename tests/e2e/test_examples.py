"""The example notebooks run, and print what is stored in them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def outputs(path: Path) -> list[tuple[str, list[str]]]:
    """Return source and texts of each code cell; pictures by their kind."""
    found = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            texts = []
            for output in cell["outputs"]:
                assert output["output_type"] in ("stream", "execute_result", "display_data"), output
                data = output.get("data", {"text/plain": output.get("text")})
                texts += [kind for kind in data if kind.startswith("image/")]
                texts += ["".join(data["text/plain"])]
            found.append(("".join(cell["source"]), texts))
    return found


@pytest.mark.slow
def test_the_notebooks_are_what_their_cells_print(tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    # A process of its own: kernels talk over sockets, which tests may not open.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "IPYTHONDIR": str(tmp_path / "ipython")}
    command = [sys.executable, str(EXAMPLES / "build.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    for stored in sorted(EXAMPLES.glob("*.ipynb")):
        now, then = outputs(tmp_path / stored.name), outputs(stored)
        assert [source for source, _ in now] == [source for source, _ in then], "run python examples/build.py"
        for (source, new), (_, old) in zip(now, then, strict=True):
            assert [NUMBER.sub("#", text) for text in new] == [NUMBER.sub("#", text) for text in old], source
            for text, before in zip(new, old, strict=True):
                numbers = [[float(each) for each in NUMBER.findall(one)] for one in (text, before)]
                # Another processor's rounding may turn a resample or a last digit; more is a change to explain.
                assert numbers[0] == pytest.approx(numbers[1], rel=0.02, abs=0.05), source
    assert any("image/svg+xml" in texts for _, texts in outputs(EXAMPLES / "images.ipynb"))
