"""Tests run one thread each: pytest-xdist spreads them over the cores; threads that spin would be in the way."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
