"""The `novapay` command: what each subcommand does is in the module named beside it in `parser`."""

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from core_service.cli.failure import CommandFailed
from core_service.cli.parser import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrongly called."""
    chosen = build_parser().parse_args(arguments)
    module_name, _, function_name = chosen.run.partition(":")
    # Imported only now: `--help` and the process groups need not load gRPC.
    command = getattr(import_module(module_name), function_name)
    try:
        return int(command(chosen) or 0)
    except CommandFailed as failure:
        sys.stderr.write(f"novapay: {failure}\n")
        if getattr(chosen, "json", False):
            print(json.dumps({"error": str(failure), **failure.extra}, ensure_ascii=False))
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # as in `novapay routes | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
