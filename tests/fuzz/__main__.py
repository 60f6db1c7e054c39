"""Coverage-guided fuzzing of one target: `python -m tests.fuzz TARGET EXECUTIONS [SECONDS [CORPUS]]`.

Stops at the first input that breaks something (kept as a file `crash-…`), or takes 100 ms of processor time.
CORPUS: a folder whose inputs it begins with, and to which it adds what reaches new code.
"""

import sys
import tempfile
import time
from pathlib import Path

import atheris

LONGEST_SECONDS = 0.1

with atheris.instrument_imports(include=["core_service", "rest_edge"]):
    from tests.fuzz.targets import TARGETS


class TooSlow(Exception):
    """An input for which the target took too long."""


def main(name: str, executions: str, seconds: str = "0", corpus: str | None = None) -> None:
    """Does not return: the fuzzer ends the process."""
    target, first = TARGETS[name]

    def one(data: bytes) -> None:
        began = time.thread_time()
        target(data)
        if time.thread_time() - began > LONGEST_SECONDS:
            raise TooSlow(data)

    corpus = corpus or tempfile.mkdtemp(prefix="novapay-fuzz-")
    for number, data in enumerate(first):
        Path(corpus, str(number)).write_bytes(data)
    options = [
        f"-runs={executions}",
        "-max_len=4096",
        "-print_final_stats=1",
        f"-artifact_prefix={name}-",
    ]
    if float(seconds):
        options.append(f"-max_total_time={int(float(seconds))}")
    atheris.Setup([sys.argv[0], *options, corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
