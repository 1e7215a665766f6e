"""The network simplex that is loaded without POT's packages: the same one, and nothing else with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BOTH_WAYS = """
import sys
import numpy as np
from transferability.transport import _simplex
{before}
rng = np.random.default_rng(0)
cost, a, b = rng.random((30, 40)), rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(40))
start = np.zeros(30), np.zeros(40)
alone = _simplex.network_simplex(a, b, cost, start, max_iterations=10**6)
assert ("ot" in sys.modules) is ("ot.lp.emd_wrap" in sys.modules) is {with_pot}
import ot  # afterwards POT works as if nothing had been loaded before
assert ot.lp.emd_wrap.emd_c is ot.lp._network_simplex.emd_c
assert np.array_equal(ot.emd(a, b, cost, potentials_init=start), alone[0])
_simplex._compiled.cache_clear()
again = _simplex.network_simplex(a, b, cost, start, max_iterations=10**6)
assert _simplex._compiled() is ot.lp.emd_wrap
assert np.array_equal(again[0], alone[0]) and alone[1] and again[1]
"""

RANK = """
import sys
import numpy as np
from transferability.cli.app import main
rng = np.random.default_rng(0)
for name, n_classes in (("reference", 4), ("target", 3)):
    labels = np.arange(60) % n_classes
    features = rng.normal(size=(60, 6))
    features[np.arange(60), labels] += 3
    np.savez(f"{name}.npz", features=features, labels=labels)
sys.argv = "transferability -q rank --target features:target.npz --reference features:reference.npz".split()
sys.argv += ["--encoder", "features:{data}.npz", "--json"]
try:
    main()
finally:
    heavy = "torch ot pandas networkx sklearn matplotlib pyarrow PIL".split()
    print([name for name in heavy if name in sys.modules], file=sys.stderr)
    if sys.platform == "linux":
        peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
        print(int(peak.split()[1]) > 250_000 and peak, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("before", "with_pot"),
    [("", False), ("_simplex.find_spec = lambda name: None", True), ("import ot", True)],
    ids=["alone", "where it is not found", "after POT"],
)
def test_the_plan_is_that_of_pot_wherever_the_solver_comes_from(before: str, with_pot: bool) -> None:
    code = BOTH_WAYS.format(before=before, with_pot=with_pot)
    environment = os.environ | {"POT_BACKEND_DISABLE_PYTORCH": "1"}  # it takes two seconds and has no part in this
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_ranking_feature_files_loads_no_framework(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", RANK], cwd=tmp_path, capture_output=True, text=True, check=False)
    heavy, *above_250_megabytes = done.stderr.splitlines()
    assert heavy == "[]"
    assert above_250_megabytes in ([], ["False"])
    assert '"transferred_accuracy"' in done.stdout
