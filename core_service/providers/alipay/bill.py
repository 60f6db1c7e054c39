"""The trade bill of Alipay: a zip of GBK CSV files, one with the rows and one with totals."""

import csv
import io
import zipfile
import zlib

from core_service.providers.bill import Bill, BillRow, BillUnreadable
from core_service.providers.wire import fen_from_yuan

_UNPACKED_LIMIT = 256 * 1024 * 1024
_DETAIL_NAME = "业务明细.csv"
_KINDS = {"交易": False, "退款": True}


def read_bill(archive: bytes) -> Bill:
    """Raises BillUnreadable."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            names = {_file_name(entry): entry for entry in opened.infolist()}
            detail = next((e for name, e in names.items() if name.endswith(_DETAIL_NAME)), None)
            if detail is None:
                raise BillUnreadable("no detail file in the archive")
            if detail.file_size > _UNPACKED_LIMIT:
                raise BillUnreadable("the detail file is too large")
            text = opened.read(detail).decode("gb18030")
    except (zipfile.BadZipFile, zlib.error, UnicodeDecodeError, RuntimeError, OSError) as problem:
        raise BillUnreadable(f"not a zip of GBK files: {type(problem).__name__}") from problem
    return Bill(tuple(_rows(text)), tuple(names))


def _file_name(entry: zipfile.ZipInfo) -> str:
    """Names are GBK without a flag that says so; the library read them as code page 437."""
    if entry.flag_bits & 0x800:
        return entry.filename
    return entry.filename.encode("cp437").decode("gb18030", "replace")


def _rows(text: str) -> list[BillRow]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not lines:
        return []
    table = csv.reader(lines)
    header = [cell.strip() for cell in next(table)]
    return [_row(dict(zip(header, (c.strip() for c in cells), strict=False))) for cells in table]


def _row(cells: dict[str, str]) -> BillRow:
    is_refund = _KINDS.get(cells.get("业务类型", ""))
    amount = fen_from_yuan(cells.get("订单金额（元）"))
    trade_no, order_id = cells.get("支付宝交易号"), cells.get("商户订单号")
    if is_refund is None or amount is None or not trade_no or not order_id:
        raise BillUnreadable("a row without kind, amount or numbers")
    return BillRow(
        is_refund=is_refund,
        provider_trade_no=trade_no,
        order_id=order_id,
        # Refunds are written as negative amounts.
        amount_fen=-amount if is_refund else amount,
        refund_id=cells.get("退款批次号/请求号") or None,
    )
