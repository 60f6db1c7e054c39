"""`python -m bench`: measures and prints a table; `--profile FOLDER` draws flame graphs instead."""

import argparse
import os
import sys
from pathlib import Path

# Before gRPC is loaded: this process starts others, and holds no channel while it does.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from bench import floor, measuring, processor, profiling, report, results
from bench.installation import installation, temporary_folder
from bench.scenarios import SCENARIOS


def main() -> int:
    """Exit status 1 when an answer was wrong."""
    chosen = _arguments()
    scenarios = [item for item in SCENARIOS if chosen.only in item.name]
    machine = processor.machine()
    with temporary_folder() as folder, installation(folder) as running:
        if chosen.profile:
            profiling.profile(running, scenarios, chosen.profile, chosen.seconds)
            return 0
        plan = measuring.Plan(
            scenarios,
            chosen.connections,
            chosen.rounds,
            chosen.seconds,
            with_delivery="delivery" in chosen.only or not chosen.only,
        )
        with floor.pieces() as pieces:
            samples = []
            for sample in measuring.measure(running, pieces, plan):
                samples.append(sample)
                sys.stderr.write(
                    f"{sample.name:<22}{sample.connections:>3}  {sample.rate:8.0f}/s\n"
                )
    rows = report.with_ratios(results.rows_of(samples))
    text = f"{report.table(rows)}\n\n{report.verdicts(rows)}"
    print(text)
    if chosen.keep:
        report.keep(text, machine)
    return 1 if any(row.errors for row in rows) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="each piece, each round")
    parser.add_argument(
        "--only", default="", metavar="WORD", help="scenarios with this in the name"
    )
    parser.add_argument("--keep", action="store_true", help="write RESULTS.md")
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="flame graphs by py-spy")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
