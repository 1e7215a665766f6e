"""A study: many encoders, several targets, one file of results that only ever grows.

`config` reads what is wanted from a TOML file, `inventory` knows its cells, `run` computes those that are missing, here
or on a cluster, `plan` says how long that may take, `saved` makes rankings of what is there. Results are in
`ranking.store`, one row for each encoder and target.
"""

from transferability.study.config import Study as Study
from transferability.study.config import load_study as load_study
from transferability.study.inventory import Cell as Cell
from transferability.study.plan import plan_study as plan_study
from transferability.study.run import run_study as run_study
from transferability.study.saved import rankings_of as rankings_of

__all__ = ["Cell", "Study", "load_study", "plan_study", "rankings_of", "run_study"]
