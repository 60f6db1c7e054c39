"""Alipay's signing rules, seen from the gateway: request check, certificate serials, answers."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, unquote_to_bytes

from cryptography import x509

from sandbox.accounts import AlipayAccount
from sandbox.clock import parse_alipay_time
from sandbox.rsa_keys import load_certificate, sign_sha256, verify_sha256

_PEM_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_RSA_SIGNATURE_OIDS = "1.2.840.113549.1.1"
_CHARSETS = {"utf-8": "utf-8", "gbk": "gbk", "gb2312": "gb2312"}


class AlipayError(Exception):
    """The gateway or the business layer says no.

    `signed` is False only where the gateway has no key to sign with (unknown app).
    `string_to_sign` is what the gateway expected to be signed, for the developer to compare.
    """

    def __init__(
        self,
        code: str,
        sub_code: str,
        sub_msg: str,
        *,
        signed: bool = True,
        string_to_sign: str | None = None,
    ) -> None:
        super().__init__(f"{code} {sub_code}: {sub_msg}")
        self.code = code
        self.sub_code = sub_code
        self.sub_msg = sub_msg
        self.signed = signed
        self.string_to_sign = string_to_sign


def parse_parameters(*encoded_parts: bytes) -> tuple[dict[str, str], str]:
    """Decodes query string and form body once: (parameters, charset).

    The charset named in the parameters decides how the bytes are read. Raises AlipayError for an
    unknown charset, undecodable bytes, or a name that occurs twice.
    """
    pairs: list[tuple[bytes, bytes]] = []
    for part in encoded_parts:
        for piece in part.split(b"&"):
            if piece:
                encoded_name, _, encoded_value = piece.partition(b"=")
                pairs.append((_decode(encoded_name), _decode(encoded_value)))
    named = next((value for key, value in pairs if key == b"charset" and value), b"utf-8")
    charset = _CHARSETS.get(named.decode("latin-1").lower())
    if charset is None:
        raise AlipayError("40002", "isv.invalid-charset", "字符集错误", signed=False)
    parameters: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        try:
            name, value = raw_name.decode(charset), raw_value.decode(charset)
        except UnicodeDecodeError:
            raise AlipayError(
                "40002", "isv.invalid-charset", "参数字节与字符集不符", signed=False
            ) from None
        if name in parameters:
            raise AlipayError("40002", "isv.invalid-parameter", f"参数重复: {name}", signed=False)
        parameters[name] = value
    return parameters, charset


def request_string_to_sign(parameters: Mapping[str, str]) -> str:
    """What a request signs: every non-empty parameter but `sign`, sorted, `name=value` by `&`."""
    return _joined(parameters, left_out=("sign",))


def message_string_to_sign(parameters: Mapping[str, str]) -> str:
    """What a notification or a browser return signs: as a request, but without `sign_type`."""
    return _joined(parameters, left_out=("sign", "sign_type"))


def check_request(
    parameters: Mapping[str, str], charset: str, accounts: Mapping[str, AlipayAccount]
) -> AlipayAccount:
    """The gateway's checks in its order: app known, signature, then the rest.

    Returns the account; raises AlipayError. `accounts` maps app ids to accounts.
    """
    app_id = parameters.get("app_id", "")
    if not app_id:
        raise AlipayError("40001", "isv.missing-app-id", "缺少AppID参数", signed=False)
    account = accounts.get(app_id)
    if account is None:
        raise AlipayError("40002", "isv.invalid-app-id", "无效的AppID参数", signed=False)
    _check_signature(parameters, charset, account)
    _check_common_parameters(parameters)
    if account.mode == "cert":
        _check_certificate_serials(parameters, account)
    return account


def _check_signature(parameters: Mapping[str, str], charset: str, account: AlipayAccount) -> None:
    expected = request_string_to_sign(parameters)
    if not parameters.get("sign"):
        raise AlipayError("40001", "isv.missing-signature", "缺少签名参数", string_to_sign=expected)
    if not parameters.get("sign_type"):
        raise AlipayError("40001", "isv.missing-signature-type", "缺少签名类型参数")
    if parameters["sign_type"] != "RSA2":
        raise AlipayError("40002", "isv.invalid-signature-type", "无效的签名类型")
    if not verify_sha256(account.app_public_key, expected.encode(charset), parameters["sign"]):
        raise AlipayError(
            "40002",
            "isv.invalid-signature",
            "验签出错，建议检查签名字符串或签名私钥与应用公钥是否匹配，"
            f"网关生成的验签字符串为：{expected}",
            string_to_sign=expected,
        )


def _check_common_parameters(parameters: Mapping[str, str]) -> None:
    if not parameters.get("method"):
        raise AlipayError("40001", "isv.missing-method", "缺少方法名参数")
    if not parameters.get("timestamp"):
        raise AlipayError("40001", "isv.missing-timestamp", "缺少时间戳参数")
    try:
        parse_alipay_time(parameters["timestamp"])
    except ValueError:
        raise AlipayError("40002", "isv.invalid-timestamp", "非法的时间戳参数") from None
    if parameters.get("version") != "1.0":
        raise AlipayError("40002", "isv.invalid-version", "非法的版本参数")
    if parameters.get("format", "JSON").upper() not in ("JSON", ""):
        raise AlipayError("40002", "isv.invalid-format", "无效的数据格式")


def _check_certificate_serials(parameters: Mapping[str, str], account: AlipayAccount) -> None:
    if not parameters.get("app_cert_sn"):
        raise AlipayError("40002", "isv.missing-app-cert-sn", "缺少应用公钥证书序列号")
    if not parameters.get("alipay_root_cert_sn"):
        raise AlipayError("40002", "isv.missing-alipay-root-cert-sn", "缺少支付宝根证书序列号")
    if parameters["app_cert_sn"] != certificate_sn(account.app_cert):
        raise AlipayError("40002", "isv.app-cert-not-exist", "应用公钥证书不存在")
    if parameters["alipay_root_cert_sn"] != root_certificate_sn(account.alipay_root_cert):
        raise AlipayError("40002", "isv.invalid-alipay-root-cert-sn", "无效的支付宝根证书序列号")


def certificate_sn(pem: str) -> str:
    """Serial of the first certificate in the text: md5 of issuer and decimal serial number."""
    return _sn(load_certificate(pem))


def root_certificate_sn(pem: str) -> str:
    """Serials of the RSA-signed certificates of a root bundle, in file order, joined by `_`."""
    serials = []
    for block in _PEM_BLOCK.findall(pem.replace("\r", "")):
        try:
            certificate = load_certificate(block)
            algorithm = certificate.signature_algorithm_oid.dotted_string
        except ValueError:
            continue  # SM2 certificates are not readable everywhere and do not count
        if algorithm.startswith(_RSA_SIGNATURE_OIDS):
            serials.append(_sn(certificate))
    return "_".join(serials)


def _sn(certificate: x509.Certificate) -> str:
    text = certificate.issuer.rfc4514_string() + str(certificate.serial_number)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def signed_answer(
    account: AlipayAccount | None, method: str, node: Mapping[str, Any], charset: str
) -> bytes:
    """The answer body; unsigned when `account` is None. Slashes are escaped as the gateway does."""
    name = method.replace(".", "_") + "_response" if method else "error_response"
    content = json.dumps(node, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    if account is None:
        return f'{{"{name}":{content}}}'.encode(charset, "replace")
    sign = sign_sha256(account.alipay_private_key, content.encode(charset, "replace"))
    serial = ""
    if account.mode == "cert":
        serial = f'"alipay_cert_sn":"{certificate_sn(account.alipay_cert)}",'
    return f'{{"{name}":{content},{serial}"sign":"{sign}"}}'.encode(charset, "replace")


def signed_message(account: AlipayAccount, parameters: Mapping[str, str]) -> str:
    """Form-encoded notification or return query, signed with Alipay's key (utf-8)."""
    complete = {**parameters, "sign_type": "RSA2"}
    text = message_string_to_sign(complete)
    complete["sign"] = sign_sha256(account.alipay_private_key, text.encode())
    return "&".join(f"{name}={quote_plus(value)}" for name, value in complete.items())


def _joined(parameters: Mapping[str, str], left_out: tuple[str, ...]) -> str:
    kept = sorted((n, v) for n, v in parameters.items() if v != "" and n not in left_out)
    return "&".join(f"{name}={value}" for name, value in kept)


def _decode(piece: bytes) -> bytes:
    return unquote_to_bytes(piece.replace(b"+", b" "))
