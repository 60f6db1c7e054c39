"""One request or sweep in a process of its own, for the tests that kill it: `python money_process.py JSON`.

Prints the answer as JSON. NOVAPAY_FAILPOINTS, or a provider's behaviour, may end the process before that.
"""

import json
import sys
from pathlib import Path
from typing import Any

from core_service.application import merchant_cache, provider_asking, system_config
from core_service.errors import CoreError
from core_service.storage import database
from tests.core_service.fake_provider import kill_after
from tests.core_service.shop import BASE, Shop, shop_of
from tests.factories import TEST_BOX


def run(shop: Shop, action: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if action == "notify":
        return {"status": shop.notify(shop.order(arguments["order"])).status}
    if action == "sweep":
        provider_asking.ask_due_orders(10)
        provider_asking.ask_due_refunds(10)
        return {}
    if action == "query":
        return {"status": shop.query(arguments["order"]).status}
    answer = getattr(shop, f"ask_{action}")(**arguments)
    return {"response": answer.response.hex(), "mark": answer.mark}


def main(job: dict[str, Any]) -> int:
    database.configure(job["url"], max_connections=4)
    merchant_cache.configure(TEST_BOX, BASE)
    with database.connection_scope():
        system_config.refresh_now()
        shop = shop_of(job["merchant"], Path(job["books"]))
        if job["kill_at_provider"]:
            for provider in shop.providers.values():
                provider.script(job["kill_at_provider"], kill_after)
        try:
            print(json.dumps(run(shop, job["action"], job["arguments"])))
        except CoreError as refusal:
            print(json.dumps({"reason": refusal.reason}))
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
