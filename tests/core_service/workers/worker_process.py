"""A worker process on the database of a test: `python worker_process.py DATABASE_URL [worker …]`."""

import ipaddress
import sys
import threading

from core_service import workers
from core_service.application import callback_attempts, merchant_cache, system_config
from core_service.storage import database
from tests.factories import TEST_BOX


def main(url: str, names: list[str]) -> int:
    database.configure(url, max_connections=8)
    merchant_cache.configure(TEST_BOX, "http://127.0.0.1")
    callback_attempts.configure([ipaddress.IPv4Network("127.0.0.0/8")])
    system_config.start_refresher()
    # As in a real process: signals may be delivered to a thread that is older than the workers.
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    code = workers.main(names)
    system_config.stop_refresher()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
