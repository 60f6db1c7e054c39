"""Seeded schedules over real processes, with signals and broken sockets between; then V01 to V26.

Who does what, and which faults strike in which order, follows from the seed; how it interleaves does not.
Sizes for `make prove`: NOVAPAY_PROCESS_SCHEDULES, NOVAPAY_FIRST_SEED.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

import pytest

from tests.journeys import invariants
from tests.journeys.actors import NOT_YET, History, MerchantClient, Operator, PayingPerson, Sent
from tests.journeys.conftest import NOTIFY_SECRET
from tests.journeys.database import rows
from tests.journeys.invariants import LEGAL_STEPS, REFUND_STEPS, Told, leads_to
from tests.journeys.process_faults import FAULTS, ProcessFaults
from tests.journeys.rough import RoughStack
from tests.proof_line import size, tell
from tests.stack import wait_until

SCHEDULES = size("NOVAPAY_PROCESS_SCHEDULES", 1)
FIRST_SEED = size("NOVAPAY_FIRST_SEED", 0)
CLIENTS, STEPS, STRIKES = 3, 20, 4
LEASE_SECONDS = 16
MARK = "x-novapay-idempotency-status"
ENOUGH_FOR_ALL = 12
"""After so many schedules a kind of fault that never struck is a failure."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180 + 90 * SCHEDULES)]


@dataclass
class Run:
    """The schedules so far."""

    rough: RoughStack
    history: History
    faults: ProcessFaults
    struck: Counter[str] = field(default_factory=Counter)


def test_v01_to_v26_hold_over_real_processes(rough_stack: RoughStack) -> None:
    rough_stack.until_healthy()
    run = Run(rough_stack, History(), ProcessFaults(rough_stack))
    stranger = rough_stack.stack.new_merchant()
    admin = rough_stack.stack.sign_in()
    for seed in range(FIRST_SEED, FIRST_SEED + SCHEDULES):
        actors: list[Callable[[], None]] = [
            MerchantClient(rough_stack, stranger, run.history, Random(f"{seed} {n}")).step
            for n in range(CLIENTS)
        ]
        actors += [
            PayingPerson(rough_stack, run.history, Random(f"{seed} payer")).step,
            Operator(admin, run.history, Random(f"{seed} operator")).step,
        ]
        schedule(run, seed, actors)
        be_quiet(run)
        found = findings(run)
        assert found == [], f"process schedule {seed}: {found}"
        tell("process schedule", seed=seed)
    tell(
        "process schedules", schedules=SCHEDULES, requests=run.history.answers.total(),
        faults=dict(run.struck), answers=dict(run.history.answers),
    )  # fmt: skip
    if SCHEDULES >= ENOUGH_FOR_ALL:
        assert [name for name in FAULTS if not run.struck[name]] == [], "faults that never struck"


def schedule(run: Run, seed: int, actors: list[Callable[[], None]]) -> None:
    """Everybody does what they do at once while faults strike one after the other."""
    chance = Random(seed)
    chosen = chance.sample(FAULTS, STRIKES)
    before = run.history.answers.total()
    failures: list[BaseException] = []

    def work(step: Callable[[], None]) -> None:
        try:
            for _ in range(STEPS):
                step()
        except BaseException as failure:  # noqa: BLE001 (reported by the test)
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(actor,)) for actor in actors]
    for thread in threads:
        thread.start()
    for number, name in enumerate(chosen):
        # Spread over what the clients do, not over time.
        due = before + number * CLIENTS * STEPS // (STRIKES + 1)
        wait_until(
            lambda due=due: run.history.answers.total() >= due or not any(t.is_alive() for t in threads),  # type: ignore[misc]
            seconds=120, what=f"request {due}",
        )  # fmt: skip
        run.struck[name] += run.faults.by_name[name](chance)
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert failures == []


def be_quiet(run: Run) -> None:
    """No more faults; every request under a key is sent once more and gets its last answer (V12, V15)."""
    run.rough.until_healthy(seconds=60)
    client = MerchantClient(run.rough, run.rough.merchant, run.history, Random(0))
    for sent in run.history.sent:
        wait_until(
            lambda sent=sent: is_final(client, sent),  # type: ignore[misc]
            seconds=3 * LEASE_SECONDS, what=f"a last answer to {sent.path}",
        )  # fmt: skip
    # Those are done with; what they left behind is looked at by every later schedule.


def is_final(client: MerchantClient, sent: Sent) -> bool:
    answer = client.send(sent)
    return answer is not None and answer.status != 503 and answer.code not in NOT_YET


def findings(run: Run) -> list[str]:
    """V01 to V14 are asserted; the rest is told."""
    invariants.check(run.rough, Told(), run.history.resend_tries)
    stack = run.rough.stack
    found = [
        *run.history.findings,
        *keyed_answers(run),
        *refusals_without_effect(run),
        *what_was_told(run),
    ]
    run.history.sent.clear()
    log = stack.log.read_text(errors="replace")
    found += [f"V20 {name} is in the log" for name, secret in (
        ("the notify secret", NOTIFY_SECRET), ("the key", run.rough.merchant.secret),
        ("the token of services", stack.service_token),
    ) if secret in log]  # fmt: skip
    found += where_it_connected(run)
    found += [f"V22 {row}" for row in rows(
        stack,
        "SELECT pid, state, query FROM pg_stat_activity WHERE xact_start < now() - interval '2 seconds'"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )]  # fmt: skip
    found += operators_changes(run)
    found += [f"V26 {row}" for row in rows(
        stack,
        "SELECT id FROM payment_orders WHERE completed_at < created_at OR paid_at > completed_at + interval '5 s'"
        " OR paid_at < created_at - interval '5 s'",
    )]  # fmt: skip
    found += what_is_shown(run)
    return found


def where_it_connected(run: Run) -> list[str]:
    """V21: to a socket of the file system and to this machine, which is all that a sandbox allows."""
    addresses = set(run.rough.connections.read_text().splitlines())
    assert any(address.startswith("('127.0.0.1'") for address in addresses), "nobody was watched"
    return [
        f"V21 connected to {address}"
        for address in addresses
        if not address.startswith(("'", "('127.0.0.1'"))
    ]


def keyed_answers(run: Run) -> list[str]:
    """V15: one answer for ever, byte for byte."""
    found = []
    for sent in run.history.sent:
        final = [a for a in sent.answers if a.headers.get(MARK) in ("created", "replayed")]
        if len({answer.raw for answer in final}) > 1:
            said = [(answer.headers[MARK], answer.status, answer.raw) for answer in final]
            found.append(f"V15 {sent.path} {sent.key}: {said}")
    return found


def what_was_told(run: Run) -> list[str]:
    """V17: what an answer with 200 said is true, or legal steps lead from it to what is."""
    found = []
    for table, told, legal in (
        ("payment_orders", run.history.told_orders, LEGAL_STEPS),
        ("refunds", run.history.told_refunds, REFUND_STEPS),
    ):
        now = {
            r["id"]: r["status"] for r in rows(run.rough.stack, f"SELECT id, status FROM {table}")
        }
        found += [
            f"V17 {subject} was told as {status} and is {now.get(subject)}"
            for subject, status in sorted(told)
            if now.get(subject) != status and not leads_to(status, now.get(subject, ""), legal)
        ]
    return found


def refusals_without_effect(run: Run) -> list[str]:
    """V18: what was only ever refused is not there."""
    refused = [sent.subject for sent in run.history.sent if sent.subject and sent.had_no_effect]
    there = rows(
        run.rough.stack,
        "SELECT external_order_id AS name FROM payment_orders WHERE external_order_id = ANY(%s)"
        " UNION ALL SELECT external_refund_id FROM refunds WHERE external_refund_id = ANY(%s)",
        [refused, refused],
    )
    return [f"V18 {row['name']} was done and refused" for row in there]


def operators_changes(run: Run) -> list[str]:
    """V23: at least one record for each success that the operator was told, none of anything else."""
    kept = Counter(
        row["target"]
        for row in rows(
            run.rough.stack,
            "SELECT target FROM audit_records WHERE action = 'payment_order.retry_callback'",
        )
    )
    return [
        f"V23 {order}: {times} resends and {kept[order]} records"
        for order, times in run.history.resent.items()
        if kept[order] < times
    ]


def what_is_shown(run: Run) -> list[str]:
    """V25: the API says what the rows say."""
    found = []
    stored = {row["id"]: row for row in rows(run.rough.stack, "SELECT * FROM payment_orders")}
    for order in {order["id"] for order in run.history.orders[-12:]}:
        shown, row = run.rough.merchant.order(order), stored[order]
        refunded_fen = Decimal(shown["refundSummary"]["totalRefundedAmount"]) * 100
        if (shown["status"], refunded_fen) != (row["status"], row["refunded_fen"]):
            found.append(
                f"V25 {order} is shown as {shown['status']}, {refunded_fen} fen back: {row}"
            )
    return found
