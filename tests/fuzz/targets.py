"""What strangers' bytes go into, and what must hold: it refuses in its own words, or what it took is right.

A target takes any bytes. Anything that it raises is a finding.
"""

import ipaddress
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

from core_service.domain import merchant, money, signature
from core_service.errors import CoreError
from core_service.outbound_http import OutboundError, is_public, literal_address, parse_url, vet_url
from core_service.providers.alipay import notification as alipay_notification
from core_service.providers.alipay.account import keys_of as alipay_keys_of
from core_service.providers.alipay.gateway import AnswerRejected, open_answer
from core_service.providers.alipay.signing import FormRejected, split_form, verified_form
from core_service.providers.base import NotificationRejected, NotificationRequest
from core_service.providers.wire import fen_from_yuan, from_beijing_text, from_rfc3339, parse_object
from core_service.providers.wxpay import notification as wxpay_notification
from core_service.providers.wxpay.account import keys_of as wxpay_keys_of
from core_service.providers.wxpay.platform_keys import MessageRejected, decrypt
from core_service.providers.wxpay.signing import check_message
from rest_edge import strict_json
from tests.core_service.providers.vectors import KEYS, alipay_account, wechat_account

_ALIPAY = alipay_keys_of(alipay_account(next(iter(KEYS["alipay"]))))
_WXPAY = wxpay_keys_of(wechat_account(next(iter(KEYS["wechat"]))))
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def strict_json_body(data: bytes) -> None:
    """A body is refused, or written again it is the same value."""
    with suppress(strict_json.InvalidJson):
        document = strict_json.load_object(data)
        written = strict_json.dump_compact(document.value).encode("utf-8", "surrogatepass")
        assert strict_json.load_object(written).value == document.value
        json.dumps(document.forbidden).encode()


def amount(data: bytes) -> None:
    """An amount is refused, or it is exactly the number that the text says."""
    text = data.decode("utf-8", "replace")
    with suppress(CoreError):
        fen = money.parse_amount(text)
        assert 0 < fen <= money.LARGEST_FEN
        assert Decimal(text) * 100 == fen
        assert money.parse_amount(money.format_fen(fen)) == fen
    with suppress(ValueError):
        assert 0 <= money.parse_rate(text) <= 1
    provider_fen = fen_from_yuan(text)
    assert provider_fen is None or Decimal(text) * 100 == provider_fen


def signing_headers(data: bytes) -> None:
    """Timestamp, nonce, key id and signature of a request, as they arrive."""
    timestamp, _, rest = data.partition(b"\n")
    nonce, _, given = rest.partition(b"\n")
    seconds = signature.parse_timestamp(timestamp)
    assert seconds is None or timestamp.isascii()
    assert not signature.is_nonce(nonce) or (nonce.isascii() and 8 <= len(nonce) <= 128)
    signature.is_key_id(nonce)
    digest = signature.request_signature(b"secret", timestamp, nonce, data)
    assert signature.matches_hex(digest, digest.hex().encode())
    assert not signature.matches_hex(digest, given)


def alipay_form(data: bytes) -> None:
    """Nothing that Alipay did not sign is believed; whatever it might sign can be read."""
    with suppress(FormRejected):
        verified_form(_ALIPAY, data)
        raise AssertionError("an unsigned form was believed")
    request = NotificationRequest("POST", {}, b"", data)
    with suppress(NotificationRejected):
        alipay_notification.read_notification(_ALIPAY, request)
    fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in split_form(data)}
    fields.setdefault("trade_status", "TRADE_SUCCESS")
    alipay_notification._read(fields, "po_1")
    from_beijing_text(fields.get("gmt_payment", data.decode("latin-1")))


def alipay_answer(data: bytes) -> None:
    """Nothing that Alipay did not sign is an answer."""
    with suppress(AnswerRejected):
        open_answer(_ALIPAY, "alipay.trade.query", data)
        raise AssertionError("an unsigned answer was believed")


def wechat_envelope(data: bytes) -> None:
    """An envelope is refused, unless it was encrypted with the merchant's own key."""
    with suppress(ValueError):
        envelope = parse_object(data)
        with suppress(MessageRejected):
            decrypt(_WXPAY.api_v3_key, envelope.get("resource"))
            raise AssertionError("a resource was decrypted that nobody encrypted")
        wxpay_notification.read_payment(envelope, "po_1", str(envelope.get("trade_state")))
        with suppress(NotificationRejected):
            wxpay_notification._read_refund(envelope, "SUCCESS")
    from_rfc3339(data.decode("latin-1"))


def wechat_headers(data: bytes) -> None:
    """Nothing that WeChat Pay did not sign is believed."""
    values = data.decode("latin-1").split("\n")
    names = ("timestamp", "nonce", "signature", "serial", "signature-type")
    headers: Mapping[str, str] = {
        f"wechatpay-{name}": value for name, value in zip(names, values, strict=False)
    }
    serial = next(iter(_WXPAY.platform.serials()))
    for known in (headers, {**headers, "wechatpay-serial": serial}):
        with suppress(MessageRejected):
            check_message(_WXPAY, known, data, now=_NOW)
            raise AssertionError("an unsigned message was believed")


def callback_url(data: bytes) -> None:
    """A URL that is taken names a host that is a name or a public address."""
    url = data.decode("utf-8", "replace")
    with suppress(ValueError, OutboundError):
        vet_url(url)
        target = parse_url(url)
        assert target.scheme in ("http", "https")
        assert 0 < target.port < 65536
        assert target.path.isascii()
        assert not set(target.path + target.host) & set(" \r\n\t")
        literal = literal_address(target.host)
        assert literal is None or is_public(literal)


def allowlist(data: bytes) -> None:
    """A list is refused by naming an entry; what it says about an address is what `ipaddress` says."""
    text = data.decode("utf-8", "replace")
    entries, _, address = text.partition("|")
    try:
        networks = merchant.parse_allowlist(entries)
    except ValueError:
        networks = ()
    allowed = merchant.address_allowed(networks, address)
    with suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        mapped = getattr(parsed, "ipv4_mapped", None) or parsed
        assert allowed == (not networks or any(mapped in network for network in networks))


TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "strict_json": (
        strict_json_body,
        (b'{"amount":88.10,"a":[1,{"b":null}],"c":"\\u00e9\\ud83d\\ude00"}', b'{"a":1,"a":2}',
         b"\xef\xbb\xbf{}", b"[" * 200, b'{"a":NaN,"b":1E400,"c":-0}', b'{"\\ud800":"\\u0000"}'),
    ),
    "amount": (
        amount,
        (b"88.10", b"100000000.00", b"0.01", b"1e2", "１".encode(), b"1_000", b"-0.00", b"00088.1"),
    ),
    "signing_headers": (
        signing_headers,
        (b"1767225600\nnonce-1234\n" + b"a" * 64, b"2026-01-01T00:00:00+08:00\nn\xff\n", b"\n\n",
         b"1767225600000\n0123456789\n" + b"F" * 64),
    ),
    "alipay_form": (
        alipay_form,
        ((b"app_id=1&out_trade_no=po_1&trade_status=TRADE_SUCCESS&total_amount=88.10&charset=utf-8"
         b"&gmt_payment=2026-01-01+00%3A00%3A00&sign_type=RSA2&sign=AAAA"),
         b"a=1&a=2&sign=x", b"trade_status=TRADE_CLOSED&refund_fee=1.00&gmt_refund=x&charset=gbk&sign=%ff"),
    ),
    "alipay_answer": (
        alipay_answer,
        (b'{"alipay_trade_query_response":{"code":"10000","out_trade_no":"po_1"},"sign":"AAAA"}',
         b'{"sign":"x","alipay_trade_query_response":{"a":"}"}}', b"<html>", b'{"error_response":{}}'),
    ),
    "wechat_envelope": (
        wechat_envelope,
        ((b'{"id":"1","event_type":"TRANSACTION.SUCCESS","resource":{"algorithm":"AEAD_AES_256_GCM",'
         b'"ciphertext":"AAAAAAAAAAAAAAAAAAAAAAAAAAAA","nonce":"0123456789ab","associated_data":"transaction"}}'),
         (b'{"amount":{"total":8810,"currency":"CNY","refund":1},"trade_state":"SUCCESS",'
         b'"out_refund_no":"rf_1","out_trade_no":"po_1","success_time":"2026-01-01T00:00:00+08:00"}')),
    ),
    "wechat_headers": (
        wechat_headers,
        (b"1767225600\nnonce\nAAAA\nSERIAL\nWECHATPAY2-SHA256-RSA2048", b"1\n\n\n",
         b"1767225600\nn\nWECHATPAY/SIGNTEST/"),
    ),
    "callback_url": (
        callback_url,
        (b"https://shop.example/hook?a=1", b"http://127.1/", b"http://[::ffff:10.0.0.1]/", b"http://0x7f000001/",
         b"http://user@host/", b"http://host:0/", "http://①②⑦.0.0.1/".encode(), b"http://a\\@b/", b"http://[2002::1]:8/"),
    ),
    "allowlist": (
        allowlist,
        (b"10.1.2.3/8, 2001:db8::/32|10.9.9.9", b"::ffff:10.0.0.0/104|10.0.0.1", b"1.2.3.4|::ffff:1.2.3.4",
         b"|", b"10.0.0.0/33|x", b"fe80::1%eth0|fe80::1%eth0"),
    ),
}  # fmt: skip
"""Name → target, and inputs to begin with."""
