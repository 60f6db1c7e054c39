"""Every error code in both languages: what it says, what to do about it, and which operations answer it.

The OpenAPI document carries this table as `x-errors`, and each error answer of an operation lists its codes as
`x-codes`. The English sentence is the one that the core answers with.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core_service.errors import REASONS
from rest_edge.errors import STATUS_BY_FAMILY
from rest_edge.openapi_words import word_for

Schema = dict[str, Any]

BODY_TOO_LARGE = "BODY_TOO_LARGE"
WECHAT_FAIL = "FAIL"
"""In WeChat Pay's own words, whatever the status."""

_CREATE, _QUERY, _CLOSE = "createPaymentOrder", "queryPaymentOrder", "closePaymentOrder"
_REFUND, _QUERY_REFUND = "createRefund", "queryRefund"
_SIGNED, _KEYED, _ANY = "(signed)", "(keyed)", "(any)"
_OPERATOR, _CHANGE, _PATH = "(operator)", "(operator changes)", "(with a path variable)"
_OF_MERCHANT = (
    "listPaymentOrders", "getPaymentOrder", "listRefunds", "listDeliveries", "getDelivery", "retryDelivery",
    "listAnomalies", "resolveAnomaly", "getOverview",
)  # fmt: skip
"""Operators may name the merchant to look at."""
_NOTIFIED = ("alipayCallback", "alipayCallbackQuery")


@dataclass(frozen=True)
class ErrorWords:
    """`where`: operation ids, or the groups in brackets."""

    chinese: str
    chinese_action: str
    english_action: str
    where: tuple[str, ...]


ERRORS: Mapping[str, ErrorWords] = {
    # 400
    "INVALID_REQUEST": ErrorWords(
        "请求缺少字段或字段有误，详见 details。", "按 details 逐项改正后再发。",
        "Correct each field that details names, then send it again.", (_SIGNED, _OPERATOR, "signIn")),
    "INVALID_JSON": ErrorWords(
        "请求体不是可以读取的 JSON 对象。", "发送 UTF-8 编码的 JSON 对象，键不可重复。",
        "Send a JSON object in UTF-8 without repeated keys.", (_SIGNED, _CHANGE, "signIn")),
    "INVALID_AMOUNT": ErrorWords(
        "金额必须大于 0、不超过 100000000.00，且最多两位小数。", '用 "88.10" 这样的字符串，不要用浮点数计算金额。',
        'Send a string such as "88.10"; do not compute amounts in floating point.',
        (_CREATE, _REFUND, "setBinding", "listPaymentOrders")),
    "INVALID_IDEMPOTENCY_KEY": ErrorWords(
        "Idempotency-Key 必须是 1 到 255 个可见 ASCII 字符。", "换成符合要求的键，例如 UUID。",
        "Use a key of that form, such as a UUID.", (_KEYED,)),
    "INVALID_NOTIFICATION": ErrorWords(
        "渠道通知未通过验签。", "只有渠道方会调用此接口；检查账户的公钥或证书配置。",
        "Only the provider calls this; check the account's public key or certificates.",
        _NOTIFIED),
    WECHAT_FAIL: ErrorWords(
        "微信支付通知未被接受，原因见 message。", "只有微信支付会调用此接口，并会自动重发；检查账户的证书或公钥配置。",
        "Only WeChat Pay calls this, and it calls again; check the account's certificates or public key.", ()),
    # 401
    "API_KEY_REQUIRED": ErrorWords(
        "缺少 x-novapay-key 头。", "带上 API Key 编号（npk_…）。", "Send the id of your API key (npk_…).", (_SIGNED,)),
    "INVALID_API_KEY": ErrorWords(
        "API Key 不存在、已停用或已过期。", "在商户后台核对或新建 API Key；不要重试。",
        "Check the key in the merchant console or make a new one; do not retry.", (_SIGNED,)),
    "SIGNATURE_REQUIRED": ErrorWords(
        "缺少 x-novapay-timestamp、x-novapay-nonce 或 x-novapay-signature 头。", "补齐三个签名头。",
        "Send all three signing headers.", (_SIGNED,)),
    "INVALID_SIGNATURE_NONCE": ErrorWords(
        "x-novapay-nonce 必须是 8 到 128 个 A-Z a-z 0-9 . _ : - 字符。", "用 24 位随机十六进制字符即可。",
        "24 random hex digits will do.", (_SIGNED,)),
    "INVALID_SIGNATURE_TIMESTAMP": ErrorWords(
        "x-novapay-timestamp 必须是 Unix 秒、毫秒或带时区的 RFC 3339 时间。", "发送 10 位 Unix 秒。",
        "Send Unix seconds, ten digits.", (_SIGNED,)),
    "SIGNATURE_EXPIRED": ErrorWords(
        "时间戳与当前时间相差过大。", "用 NTP 校准时钟，重新签名后再发。",
        "Set the clock by NTP, sign anew and send again.", (_SIGNED,)),
    "INVALID_SIGNATURE": ErrorWords(
        "签名不符；请用 API Secret 对 '{timestamp}.{nonce}.{原始请求体}' 签名。",
        "对实际发出的字节签名，不要在签名之后重新序列化 JSON；参见“签名”。",
        "Sign the very bytes that you send; do not serialise the JSON again afterwards. See Signing.", (_SIGNED,)),
    "NONCE_REPLAYED": ErrorWords(
        "该 nonce 已被使用。", "每次发送（包括重试）都生成新的 nonce 并重新签名。",
        "Make a new nonce and sign anew each time you send, retries included.", (_SIGNED,)),
    "ADMIN_UNAUTHENTICATED": ErrorWords(
        "请先登录。", "登录后重试；会话可能已过期。", "Sign in and try again; the session may have ended.",
        (_OPERATOR, "signIn", "getSession", "signOut")),
    "STAFF_UNAUTHENTICATED": ErrorWords(
        "请先登录商户后台。", "登录后重试;会话可能已过期。",
        "Sign in to the merchant console and try again; the session may have ended.", ()),
    "UNAUTHENTICATED": ErrorWords(
        "调用需要凭证。", "内部服务请带上服务令牌。", "Internal services send the service token.", ()),
    # 403
    "MERCHANT_PENDING_REVIEW": ErrorWords(
        "商户尚未通过审核。", "等待运营方审核；查询、关单与退款不受影响。",
        "Wait for the review; querying, closing and refunding work meanwhile.", (_CREATE,)),
    "MERCHANT_REJECTED": ErrorWords(
        "商户的入驻申请已被拒绝。", "按审核备注修改资料，并联系运营方。",
        "Mend what the review note says and talk to the operator.", (_CREATE,)),
    "MERCHANT_SUSPENDED": ErrorWords(
        "商户已停用。", "联系运营方；查询、关单与退款不受影响。",
        "Talk to the operator; querying, closing and refunding still work.", (_CREATE,)),
    "MERCHANT_PROFILE_INCOMPLETE": ErrorWords(
        "商户资料缺少该通道所需的字段，详见 details。", "补齐 details 列出的字段。",
        "Fill in the fields that details lists.", (_CREATE,)),
    "IP_NOT_ALLOWED": ErrorWords(
        "来源地址不在商户的 IP 白名单内。", "把服务器的出口地址加入白名单。",
        "Add the address from which your server calls to the allowlist.", (_SIGNED,)),
    "CSRF_REJECTED": ErrorWords(
        "请求并非来自本站页面。", "带上 Origin 头，或带上会话的 x-csrf-token。",
        "Send this site's Origin, or the session's x-csrf-token.", (_CHANGE, "signIn", "signOut")),
    "PERMISSION_DENIED": ErrorWords(
        "没有权限。", "换用有权限的角色。", "Use a role that may do this.", (_OPERATOR,)),
    "PASSWORD_CHANGE_REQUIRED": ErrorWords(
        "请先设置自己的密码。", "在修改初始密码之前,不能进行其他操作。",
        "Change the first password; until then nothing else is allowed.", ()),
    # 404
    "MERCHANT_NOT_FOUND": ErrorWords(
        "商户不存在。", "merchantCode 必须是该 API Key 所属的商户。",
        "merchantCode must be the merchant to whom the API key belongs.",
        (_SIGNED, "getMerchant", "updateMerchant", "setBinding", *_OF_MERCHANT)),
    "UNSUPPORTED_CHANNEL": ErrorWords(
        "通道不存在；GET /api/channels 可列出全部通道。", "改用 alipay.page 或 wxpay.native。",
        "Use alipay.page or wxpay.native.", (_CREATE, "setBinding", "describeChannelAccount")),
    "ORDER_NOT_FOUND": ErrorWords(
        "订单不存在。", "核对订单号；只能看到自己商户的订单。",
        "Check the number; a merchant sees only its own orders.",
        (_QUERY, _CLOSE, _REFUND, "retryCallback", "getPaymentOrder", "cashier", "cashierResult")),
    "REFUND_NOT_FOUND": ErrorWords(
        "退款不存在。", "核对退款号；没有记录就表示这笔退款没有被受理。",
        "Check the number; where there is no record, the refund was never taken.", (_QUERY_REFUND,)),
    "CHANNEL_ACCOUNT_NOT_FOUND": ErrorWords(
        "渠道账户不存在。", "核对账户编号。", "Check the account's id.",
        ("setBinding", "checkChannelAccount", *_NOTIFIED)),
    "NOT_FOUND": ErrorWords(
        "此处没有内容。", "核对路径；编号里不能有控制字符或斜杠。",
        "Check the path; ids have no control characters and no slash.",
        (_PATH, "updateOperator", "getDelivery", "retryDelivery", "resolveAnomaly", *_NOTIFIED)),
    # 409
    "IDEMPOTENCY_CONFLICT": ErrorWords(
        "该 Idempotency-Key 已用于另一个请求。", "新的请求用新的键；重试时请求内容必须完全一致。",
        "Use a new key for a new request; a retry must repeat the request as it was.", (_KEYED,)),
    "IDEMPOTENCY_IN_PROGRESS": ErrorWords(
        "使用该 Idempotency-Key 的首个请求仍在处理。", "一两秒后用同样的键和请求重试。",
        "Try again after a second or two with the same key and request.", (_KEYED,)),
    "ORDER_CHANNEL_CONFLICT": ErrorWords(
        "该 externalOrderId 已用于另一通道。", "换新的 externalOrderId，或沿用原通道。",
        "Use a new externalOrderId, or the channel of the first order.", (_CREATE,)),
    "ORDER_AMOUNT_CONFLICT": ErrorWords(
        "该 externalOrderId 已用于另一金额。", "换新的 externalOrderId；金额不可更改。",
        "Use a new externalOrderId; an amount cannot change.", (_CREATE,)),
    "ORDER_ALREADY_PAID": ErrorWords(
        "订单已支付，不能关闭；请改用退款。", "按已支付处理；不需要这笔钱就退款。",
        "Treat it as paid, and refund it if you do not want the money.", (_CLOSE,)),
    "ORDER_NOT_REFUNDABLE": ErrorWords(
        "只有已支付的订单可以退款。", "先查询订单状态。", "Query the order's status first.", (_REFUND,)),
    "REFUND_REFERENCE_CONFLICT": ErrorWords(
        "该 externalRefundId 已用于另一订单。", "换新的 externalRefundId。", "Use a new externalRefundId.",
        (_REFUND,)),
    "REFUND_AMOUNT_CONFLICT": ErrorWords(
        "该 externalRefundId 已用于另一金额。", "查询原退款；再退一笔请用新的编号。",
        "Query the first refund; use a new id for another one.", (_REFUND,)),
    "REFUND_REASON_CONFLICT": ErrorWords(
        "该 externalRefundId 已用于另一原因。", "重试时 reason 必须一致。", "Repeat the same reason in a retry.",
        (_REFUND,)),
    "ANOMALY_RESOLVED": ErrorWords(
        "该异常已被处理。", "刷新列表。", "Reload the list.", ("resolveAnomaly",)),
    "MERCHANT_CODE_TAKEN": ErrorWords(
        "商户编码已被占用。", "换一个编码。", "Choose another code.", ("createMerchant", "updateMerchant")),
    # 413
    BODY_TOO_LARGE: ErrorWords(
        "请求体超过 64 KiB。", "缩短请求，例如减小 metadata。", "Shorten it, the metadata for instance.",
        (_SIGNED, _CHANGE, "signIn", "alipayCallback", "alipayCallbackQuery", "wxpayCallback")),
    # 422
    "CHANNEL_NOT_CONFIGURED": ErrorWords(
        "商户没有该通道的账户。", "先为该通道添加账户。", "Add an account for this channel first.", (_CREATE,)),
    "CHANNEL_DISABLED": ErrorWords(
        "该通道已对商户停用。", "启用路由，或换通道。", "Enable the binding or use another channel.", (_CREATE,)),
    "ACCOUNT_DISABLED": ErrorWords(
        "渠道账户已停用。", "启用账户，或改绑其他账户。", "Enable the account or bind another.", (_CREATE,)),
    "AMOUNT_TOO_SMALL": ErrorWords(
        "金额低于通道限额。", "提高金额，或调整路由的 minAmount。",
        "Raise the amount, or the binding's minAmount is to change.",
        (_CREATE,)),
    "AMOUNT_TOO_LARGE": ErrorWords(
        "金额高于通道限额。", "降低金额，或调整路由的 maxAmount。",
        "Lower the amount, or the binding's maxAmount is to change.",
        (_CREATE,)),
    "REFUND_AMOUNT_EXCEEDED": ErrorWords(
        "退款超过可退金额。", "查询订单的 refundSummary.refundableAmount。",
        "See refundSummary.refundableAmount of the order.", (_REFUND,)),
    "CHANNEL_CLOSE_UNSUPPORTED": ErrorWords(
        "该通道不支持关单。", "等待订单自动过期。", "Wait until the order expires.", (_CLOSE,)),
    "CHANNEL_REFUND_UNSUPPORTED": ErrorWords(
        "该通道不支持退款。", "线下退款。", "Refund by other means.", (_REFUND,)),
    "CALLBACK_URL_FORBIDDEN": ErrorWords(
        "回调地址不是公网地址。", "使用公网可以访问的 https 地址。",
        "Use an https address that is reachable from outside.",
        (_CREATE, "createMerchant", "updateMerchant")),
    "ACCOUNT_NOT_OF_MERCHANT": ErrorWords(
        "渠道账户属于另一商户。", "选择该商户自己的账户。", "Choose one of the merchant's own accounts.",
        ("setBinding",)),
    "ACCOUNT_CHANNEL_MISMATCH": ErrorWords(
        "渠道账户属于另一通道。", "选择该通道的账户。", "Choose an account of this channel.", ("setBinding",)),
    # 429
    "RATE_LIMITED": ErrorWords(
        "请求过于频繁。", "等待 Retry-After 指示的秒数再试。", "Wait as long as Retry-After says.",
        (_SIGNED, "signIn")),
    # 500
    "PROVIDER_ERROR": ErrorWords(
        "渠道方明确拒绝，详见 details。", "按 details 中渠道方的错误码处理；同一请求重试不会有不同结果。",
        "Act on the provider's code in details; the same request would be refused again.",
        (_CREATE, _QUERY, _CLOSE, _REFUND, _QUERY_REFUND)),
    "PROVIDER_TIMEOUT": ErrorWords(
        "渠道方未及时应答，结果暂不明确；请再次发送同一请求。", "不要当作失败：原样重试，或查询。",
        "Do not take it for a failure: send the same request again, or query.",
        (_CREATE, _QUERY, _CLOSE, _REFUND, _QUERY_REFUND)),
    "PROVIDER_UNAVAILABLE": ErrorWords(
        "暂时无法连接渠道方；请再次发送同一请求。", "不要当作失败：稍后原样重试，或查询。",
        "Do not take it for a failure: send the same request again a little later, or query.",
        (_CREATE, _QUERY, _CLOSE, _REFUND, _QUERY_REFUND)),
    "INTERNAL": ErrorWords(
        "服务内部出错；请提供请求编号。", "带同一幂等键重试一次；仍失败时把 x-request-id 交给运营方。",
        "Try once more with the same idempotency key; if it fails again, give x-request-id to the operator.", (_ANY,)),
    # 503
    "OVERLOADED": ErrorWords(
        "当前负载过高，请稍后再试。", "等待 Retry-After 指示的秒数，原样重试。",
        "Wait as long as Retry-After says and send the same request again.", (_ANY,)),
    "DATABASE_UNAVAILABLE": ErrorWords(
        "暂时无法连接数据库，请稍后再试。", "等待 Retry-After 指示的秒数，原样重试。",
        "Wait as long as Retry-After says and send the same request again.", (_ANY,)),
}  # fmt: skip


def status_of(code: str) -> int:
    """HTTP status of a code."""
    beside = {BODY_TOO_LARGE: 413, WECHAT_FAIL: 400}
    return beside[code] if code in beside else STATUS_BY_FAMILY[REASONS[code][0]]


def sentence(code: str) -> str:
    """The English sentence that goes with a code."""
    beside = {
        BODY_TOO_LARGE: "The body has more than 64 KiB.",
        WECHAT_FAIL: "The notification was not taken; message says why.",
    }
    return beside[code] if code in beside else REASONS[code][1]


_PARTICULAR = (404, 409, 422)
"""Statuses whose codes depend on what the operation does."""


def codes_of(operation_id: str, groups: frozenset[str], status: int) -> list[str]:
    """Codes that an operation answers with a status.

    Where the table names the operation for none of them, it may be any that the status has: a new operation is
    documented with too many rather than with too few.
    """
    name = operation_id.removesuffix("Legacy")
    of_status = [code for code in ERRORS if status_of(code) == status and ERRORS[code].where]
    is_named = any(name in ERRORS[code].where for code in of_status)
    if status in _PARTICULAR and not is_named:
        return of_status
    wanted = groups | {name, _ANY}
    return [code for code in of_status if wanted.intersection(ERRORS[code].where)] or of_status


def groups_of(
    principals: set[str], *, takes_key: bool, has_body: bool, has_path_variable: bool
) -> frozenset[str]:
    """Names of the groups to which an operation belongs."""
    belongs = {
        _SIGNED: "MERCHANT" in principals,
        _OPERATOR: "OPERATOR" in principals,
        _CHANGE: "OPERATOR" in principals and has_body,
        _KEYED: takes_key,
        _PATH: has_path_variable,
    }
    return frozenset(group for group, is_in in belongs.items() if is_in)


def error_table() -> Iterator[tuple[str, Schema]]:
    """`x-errors` of the document."""
    for code, words in ERRORS.items():
        yield (
            code,
            {
                "status": status_of(code),
                "description": words.chinese,
                "x-description-en": sentence(code),
                "action": words.chinese_action,
                "x-action-en": words.english_action,
            },
        )


def error_schema() -> Schema:
    """The one shape of all errors."""
    kinds: dict[str, Schema] = {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "details": {},
    }
    for name, schema in kinds.items():
        word = word_for("Error", name)
        assert word is not None
        schema |= {"description": word.chinese, "x-description-en": word.english}
    return {"type": "object", "properties": kinds}


def error_example(code: str) -> Schema:
    """What such an answer looks like."""
    details: Any = None
    if code == "INVALID_REQUEST":
        details = [{"field": "subject", "reason": "is required"}]
    elif code == "MERCHANT_PROFILE_INCOMPLETE":
        details = ["legalName", "contactPhone"]
    elif code == "PROVIDER_ERROR":
        details = {"code": "ACQ.TRADE_HAS_CLOSE", "message": "交易已经关闭"}
    return {"error": sentence(code), "code": code, "details": details}
