"""Requests and sweeps in processes of their own, for the tests that kill them.

Reads a job as JSON a line from standard input, forks for it, and writes how that process ended as JSON a line. A
failpoint or a provider's behaviour may end it before it is done. Forked, because loading everything anew for each
takes longer than everything else; nothing is connected and no thread runs before the fork.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from core_service import failpoints
from core_service.application import merchant_cache, provider_asking, system_config
from core_service.errors import CoreError
from core_service.storage import database
from tests.core_service.fake_provider import kill_after
from tests.core_service.shop import BASE, Shop, shop_of
from tests.factories import TEST_BOX


def run(shop: Shop, action: str, arguments: dict[str, Any]) -> None:
    if action == "notify":
        shop.notify(shop.order(arguments["order"]))
    elif action == "sweep":
        provider_asking.ask_due_orders(10)
        provider_asking.ask_due_refunds(10)
    elif action == "query":
        shop.query(arguments["order"])
    else:
        getattr(shop, f"ask_{action}")(**arguments)


def work_on(job: dict[str, Any]) -> None:
    """In the new process."""
    failpoints.arm(job["failpoints"])
    database.configure(job["url"], max_connections=4)
    merchant_cache.configure(TEST_BOX, BASE)
    with database.connection_scope():
        system_config.refresh_now()
        shop = shop_of(job["merchant"], Path(job["books"]))
        if job["kill_at_provider"]:
            for provider in shop.providers.values():
                provider.script(job["kill_at_provider"], kill_after)
        try:
            run(shop, job["action"], job["arguments"])
        except CoreError as refusal:
            sys.stderr.write(f"{refusal}\n")


def main() -> None:
    for line in sys.stdin:
        process_id = os.fork()
        if process_id == 0:
            status = 1
            try:
                work_on(json.loads(line))
                status = 0
            except BaseException:  # noqa: BLE001 (told, and the process ends in any case)
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, ended = os.waitpid(process_id, 0)
        print(json.dumps({"exit_status": os.waitstatus_to_exitcode(ended)}), flush=True)


if __name__ == "__main__":
    main()
