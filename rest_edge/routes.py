"""`python -m rest_edge.routes`: every RPC route, one a line: verb, path, RPC, principals, idempotency, status."""

import sys
from collections.abc import Iterator

from core_service.schema import methods

HEADINGS = ("VERB", "PATH", "RPC", "PRINCIPALS", "IDEMPOTENCY", "STATUS")


def route_table() -> Iterator[tuple[str, ...]]:
    """The rows, in the order of the proto files."""
    for method in methods():
        for route in method.routes:
            yield (
                route.verb,
                route.template + (" (deprecated)" if route.deprecated else ""),
                f"{method.service_full_name.rpartition('.')[2]}.{method.name}",
                ",".join(sorted(principal.value for principal in method.principals)),
                method.idempotency_operation or "-",
                str(method.success_status),
            )


def main() -> None:
    """Print the table."""
    rows = [HEADINGS, *route_table()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


if __name__ == "__main__":
    main()
