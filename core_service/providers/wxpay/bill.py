"""The trade bill of WeChat Pay.

Gzip of UTF-8 text, every cell behind a backtick, totals at the end.
"""

import gzip
import hashlib
import io
import zlib

from core_service.providers.bill import Bill, BillRow, BillUnreadable
from core_service.providers.wire import fen_from_yuan

_UNPACKED_LIMIT = 256 * 1024 * 1024
_SUMMARY = "总交易单数"


def read_bill(packed: bytes, *, sha1: str) -> Bill:
    """Reads a bill and checks it against its totals. Raises BillUnreadable.

    `sha1` is the `hash_value` of the bill's announcement; it covers the unpacked file, which itself
    is not signed.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as opened:
            content = opened.read(_UNPACKED_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise BillUnreadable("not a gzip file") from problem
    if len(content) > _UNPACKED_LIMIT:
        raise BillUnreadable("the file is too large")
    if hashlib.sha1(content, usedforsecurity=False).hexdigest() != sha1.lower():
        raise BillUnreadable("the file does not have the announced hash")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as problem:
        raise BillUnreadable("not UTF-8") from problem
    end = next((n for n, line in enumerate(lines) if line.startswith(_SUMMARY)), None)
    if end is None or end + 1 >= len(lines):
        raise BillUnreadable("cut short: no totals at the end")
    header = lines[0].split(",")
    rows = [_row(dict(zip(header, _cells(line), strict=False))) for line in lines[1:end]]
    bill = Bill(tuple(rows))
    _compare_totals(bill, dict(zip(lines[end].split(","), _cells(lines[end + 1]), strict=False)))
    return bill


def _cells(line: str) -> list[str]:
    """Names may hold commas, so only a comma with a backtick divides."""
    return line.removeprefix("`").split(",`")


def _row(cells: dict[str, str]) -> BillRow:
    is_refund = cells.get("交易状态") == "REFUND"
    amount = fen_from_yuan(cells.get("申请退款金额" if is_refund else "订单金额"))
    trade_no, order_id = cells.get("微信订单号"), cells.get("商户订单号")
    if amount is None or not trade_no or not order_id:
        raise BillUnreadable("a row without amount or numbers")
    if not is_refund:
        return BillRow(False, trade_no, order_id, amount)
    return BillRow(
        is_refund=True,
        provider_trade_no=trade_no,
        order_id=order_id,
        amount_fen=amount,
        refund_id=cells.get("商户退款单号") or None,
        provider_refund_no=cells.get("微信退款单号") or None,
        refund_status=cells.get("退款状态") or None,
    )


def _compare_totals(bill: Bill, totals: dict[str, str]) -> None:
    told = (
        totals.get(_SUMMARY),
        fen_from_yuan(totals.get("订单总金额")),
        fen_from_yuan(totals.get("申请退款总金额")),
    )
    if told != (str(len(bill.rows)), bill.payment_total_fen, bill.refund_total_fen):
        raise BillUnreadable("the totals contradict the rows")
