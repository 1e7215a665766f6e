"""Runs every experiment, two at a time, and writes how long each took.

    python experiments/run.py --data FOLDER [--quick]

First the fine-tuning, which the others need, then the rest. Everything resumes: stopped and started again, it goes on
where it was. What an experiment prints is in `<cache>/logs`; claims are printed here as they are judged.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _common import options
from _zoo import PACKAGED, zoo

HERE = Path(__file__).parent
LANES = (
    ("table1", "ours"),
    (
        "fig3_terms",
        "table2",
        "fig5_share",
        "fig12_text",
        "fig4",
        "fig13_tau",
        "fig678",
        "pseudo_labels",
        "ablation",
        "confirm_zoo",
    ),
)


def main() -> None:
    """Start, wait, sum up."""
    given = options(__doc__)
    shared = ["--data", str(given.data), "--cache", str(given.cache), "--out", str(given.out), "--device", given.device]
    shared += ["--quick"] * given.quick
    started = time.perf_counter()
    small = [name for name in zoo(given.quick) if name not in PACKAGED]
    halves = (small[::2], small[1::2]) if given.quick else (small, list(PACKAGED))
    times: dict[str, dict[str, float]] = {}

    def run(name: str, *more: str) -> None:
        log = given.cache / "logs" / f"{'-'.join([name, *more[1:2]])}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        before = time.perf_counter()
        with log.open("w") as stream:
            command = [sys.executable, str(HERE / f"{name}.py"), *shared, *more]
            process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
            _, status, used = os.wait4(process.pid, 0)
        if status:
            print(f"{name} failed; see {log}", flush=True)
        for line in log.read_text().splitlines():
            if line.startswith(("CLAIM", "VERDICT", "NUMBERS")):
                print(line, flush=True)
        found = {"cpu_seconds": used.ru_utime + used.ru_stime, "wall_seconds": time.perf_counter() - before}
        earlier = times.get(name, dict.fromkeys(found, 0.0))
        times[name] = {key: round(earlier[key] + value, 1) for key, value in found.items()}

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda names: run("finetune_zoo", "--encoders", *names), halves))
        list(pool.map(lambda lane: [run(name) for name in lane], LANES))
    times["all"] = {
        "cpu_seconds": round(sum(each["cpu_seconds"] for each in times.values()), 1),
        "wall_seconds": round(time.perf_counter() - started, 1),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / f"times{'-quick' * given.quick}.json").write_text(json.dumps(times, indent=1) + "\n")
    print(json.dumps(times, indent=1))


if __name__ == "__main__":
    main()
