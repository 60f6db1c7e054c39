"""The background thread that sends notifications and lets time pass (expiry, pending refunds)."""

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import urllib3

from sandbox import alipay_messages, wechat_messages
from sandbox.account_store import Accounts
from sandbox.books import Books, Notification
from sandbox.clock import Clock
from sandbox.trading import Trading

_ATTEMPT_SECONDS = 5.0
_SWEEP_SECONDS = 0.5
_KEPT_ANSWER_BYTES = 4096
_log = logging.getLogger("sandbox.pusher")


class Pusher:
    """Sends due notifications, several at a time, and retries by the provider's schedule."""

    def __init__(self, books: Books, accounts: Accounts, clock: Clock) -> None:
        self._books = books
        self._accounts = accounts
        self._clock = clock
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="push")
        self._http = urllib3.PoolManager(maxsize=8, retries=False)

    def start(self, trading: Trading) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, args=(trading,), daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something may be due now."""
        self._wake.set()

    def stop(self) -> None:
        """Ends the thread after the attempts under way."""
        self._stopping = True
        self._wake.set()
        if self._thread:
            self._thread.join(timeout=_ATTEMPT_SECONDS)
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._http.clear()

    def _run(self, trading: Trading) -> None:
        while not self._stopping:
            try:
                trading.sweep()
                pause = self._send_due()
            except Exception:  # noqa: BLE001 - one bad row must not end all pushes
                _log.exception("background work failed; going on")
                pause = _SWEEP_SECONDS
            self._wake.wait(pause)
            self._wake.clear()

    def _send_due(self) -> float:
        """Hands due notifications to the pool; seconds until the next one, at most a sweep."""
        with self._books.transaction():
            due = self._books.rows(
                "SELECT * FROM notifications WHERE state = 'waiting' AND due <= ? ORDER BY due, id",
                time.time(),
            )
            for row in due:
                self._books.execute(
                    "UPDATE notifications SET state = 'sending' WHERE id = ?", row["id"]
                )
            upcoming = self._books.row(
                "SELECT min(due) AS due FROM notifications WHERE state = 'waiting'"
            )
        for row in due:
            self._pool.submit(self._attempt, Notification(**row))
        if upcoming is None or upcoming["due"] is None:
            return _SWEEP_SECONDS
        return min(_SWEEP_SECONDS, max(0.0, float(upcoming["due"]) - time.time()))

    def _attempt(self, notification: Notification) -> None:
        started = time.monotonic()
        status, answer = self._send(notification)
        if notification.provider == "alipay":
            is_accepted, gaps = alipay_messages.accepted, alipay_messages.RETRY_GAPS_SECONDS
        else:
            is_accepted, gaps = wechat_messages.accepted, wechat_messages.RETRY_GAPS_SECONDS
        accepted = status is not None and is_accepted(status, answer)
        attempts = notification.attempts + 1
        exhausted = attempts > len(gaps)
        state = "accepted" if accepted else "given_up" if exhausted else "waiting"
        gap = 0.0 if accepted or exhausted else gaps[attempts - 1] * self._clock.time_factor
        with self._books.transaction():
            self._books.insert(
                "notification_attempts",
                notification_id=notification.id,
                at=self._clock.unix(),
                milliseconds=round((time.monotonic() - started) * 1000),
                http_status=status,
                answer=answer[:_KEPT_ANSWER_BYTES].decode("utf-8", "backslashreplace"),
                accepted=int(accepted),
            )
            self._books.execute(
                "UPDATE notifications SET state = ?, attempts = ?, due = ? WHERE id = ?",
                state, attempts, time.time() + gap, notification.id,
            )  # fmt: skip
        self.wake()

    def _send(self, notification: Notification) -> tuple[int | None, bytes]:
        """HTTP status and answer, or None and the error's words."""
        if notification.provider == "alipay":
            app = self._accounts.alipay[notification.account]
            headers, body = alipay_messages.attempt(app, notification, self._clock.unix())
        else:
            merchant = self._accounts.wxpay[notification.account]
            headers, body = wechat_messages.attempt(merchant, notification, self._clock.signing())
        try:
            response = self._http.request(
                "POST",
                notification.url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(total=_ATTEMPT_SECONDS),
                redirect=False,
                preload_content=False,
            )
            answer = response.read(_KEPT_ANSWER_BYTES)
            if len(answer) < _KEPT_ANSWER_BYTES:
                response.drain_conn()
            else:
                response.close()  # a long answer is of no interest
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return None, json.dumps(str(error), ensure_ascii=False).encode()
        return response.status, answer
