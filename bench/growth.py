"""What many orders cost a new one: `python -m bench.growth [ORDERS=10000000] [ROUNDS=5]`.

Two installations side by side on this machine, one empty and one with so many orders of its merchants; create and query
are measured on both by turns, a query of any order at random. Says on standard error how far it is, prints one JSON
object, and exits with 1 when one of them keeps less than 0.8 of its rate. Ten million want 60 GB and half an hour.
"""

import json
import random
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bench.installation import Installation, installation, temporary_folder
from bench.measuring import scenario_sample
from bench.scenarios import SCENARIOS, Scenario, signed_query
from tests import seeding
from tests.seeding import Seller

ORDERS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
CONNECTIONS, SECONDS = 32, 3.0
KEPT = 0.8
"""Of the rate on an empty database."""

_SELLERS = """
    SELECT m.id, json_object_agg(a.channel_code, a.id) FROM merchants m
    JOIN channel_accounts a ON a.merchant_id = m.id WHERE m.code LIKE 'bench-%%' GROUP BY m.id ORDER BY m.id
"""
_ANY = """
    SELECT m.code, o.id FROM payment_orders o TABLESAMPLE SYSTEM (%s) JOIN merchants m ON m.id = o.merchant_id
    WHERE m.code LIKE 'bench-%%' LIMIT %s
"""
_SIZES = """
    SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_total_relation_size(oid) > 1024 * 1024
    ORDER BY pg_total_relation_size(oid) DESC
"""


def _any_order(running: Installation, count: int) -> list[bytes]:
    """Queries of orders from everywhere in the table, in no order."""
    known = int(running.rows("SELECT count(*) FROM payment_orders")[0][0])
    rows = running.rows(_ANY, min(100.0, 100 * 3 * count / known), 3 * count)
    chance = random.Random(1)  # noqa: S311 (which orders, no secret)
    shops = {shop.merchant.code: shop for shop in running.shops}
    return [signed_query(shops[code], order_id) for code, order_id in chance.choices(rows, k=count)]


MEASURED = (
    next(one for one in SCENARIOS if one.name == "create alipay.page"),
    Scenario("query", _any_order, '"order":{', 8000),
)


def fill(running: Installation) -> None:
    """Orders of the installation's own merchants."""
    sellers = [Seller(merchant, accounts) for merchant, accounts in running.rows(_SELLERS)]
    seeding.seed(running.database_url, orders=ORDERS, sellers=sellers, progress=_progress)
    running.rows("CHECKPOINT")


def _progress(orders: int, seconds: float) -> None:
    left = seconds / orders * (ORDERS - orders)
    sys.stderr.write(f"\r{orders:>9,} of {ORDERS:,} orders, about {left / 60:.0f} min left ")
    sys.stderr.flush()


def rates(installations: dict[str, Installation]) -> dict[str, dict[str, list[float]]]:
    """Scenario → installation → a second, one of each round."""
    found: dict[str, dict[str, list[float]]] = {
        one.name: {name: [] for name in installations} for one in MEASURED
    }
    for number in range(-1, ROUNDS):  # the first one warms
        for scenario in MEASURED:
            for name, running in installations.items():
                sample = scenario_sample(running, scenario, CONNECTIONS, SECONDS)
                assert not sample.errors, sample.first_error
                if number >= 0:
                    found[scenario.name][name].append(sample.rate)
                sys.stderr.write(f"{scenario.name:<20}{name:<8}{sample.rate:8.0f}/s\n")
    return found


def report(found: dict[str, dict[str, list[float]]], large: Installation) -> dict[str, Any]:
    """What is printed; `broken` names what kept too little."""
    medians = {
        scenario: {name: median(values) for name, values in by_name.items()}
        for scenario, by_name in found.items()
    }
    kept = {name: of["large"] / of["empty"] for name, of in medians.items()}
    return {
        "orders": ORDERS,
        "kept": {name: round(share, 2) for name, share in kept.items()},
        "rates": {
            scenario: {name: [round(value) for value in values] for name, values in by_name.items()}
            for scenario, by_name in found.items()
        },
        "megabytes": {
            table: [round(rows / 1024**2), round(indexes / 1024**2)]
            for table, rows, indexes in large.rows(_SIZES)
        },
        "broken": [name for name, share in kept.items() if share < KEPT],
    }


def main() -> int:
    """The exit status."""
    with temporary_folder() as folder, ExitStack() as stack:
        folder.chmod(0o711)  # the account that runs PostgreSQL for root must get through
        installations = {}
        for name in ("large", "empty"):
            own = Path(folder, name)
            own.mkdir()
            running = installations[name] = stack.enter_context(installation(own))
            running.pause_workers()
            if name == "large":
                fill(running)
        said = report(rates(installations), installations["large"])
    print(json.dumps({"name": "growth", **said}))
    return 1 if said["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
