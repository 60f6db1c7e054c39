"""What names mean wherever they stand in the OpenAPI document, in both languages, each with an example value.

A field with a comment of its own in the proto files keeps it; these words stand in where there is none. A key is a
JSON name, or `Message.jsonName` where one message means something else by it. The examples belong together: they
tell of one order of 88.10 yuan at a fee of 0.6 %, refunded by 8.10.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ORDER_ID = "po_01kdvdna00qqjm2s6r76fqcz25"
REFUND_ID = "rf_01kdwddmerp30wq4ee6xdwhyxw"
ACCOUNT_ID = "acc_01kdvdn16rqnmxeva363rm8tza"
MERCHANT_ID = "mch_01kdvdn07ggyrer7bxm2keq34y"
KEY_ID = "npk_01kdvdn9ggyrer7bxm2keq34y0"
TIMESTAMP = "1767225600"
NONCE = "5f2b8c1e9a4d7063"
SIGNATURE = "b7f2e91c4a5d80637c1f9e2b5a8d4c60f3e7b1a9d2c85046e8f1a3b7c9d20e45"

_CREATED = "2026-01-01T00:00:00.000Z"
_EXPIRES = "2026-01-01T00:30:00.000Z"
_PAID = "2026-01-01T00:01:12.000Z"
_REFUNDED = "2026-01-01T09:15:03.000Z"
_GATEWAY = "https://openapi.alipay.com/gateway.do?app_id=2021000000000000&sign=…"
_CALLBACK = "https://shop.example.com/novapay/callback"


@dataclass(frozen=True)
class Word:
    """A name in the document. No example: the schema's own shape gives one."""

    chinese: str
    english: str
    example: Any = None


WORDS: Mapping[str, Word] = {
    # headers
    "x-novapay-key": Word("API Key 编号", "Id of the API key", KEY_ID),
    "x-novapay-timestamp": Word(
        "签名时间：Unix 秒、毫秒或带时区的 RFC 3339 时间，与服务器相差不超过 300 秒",
        "When it was signed: Unix seconds, milliseconds or RFC 3339 with a zone; within 300 s of the server's clock",
        TIMESTAMP,
    ),
    "x-novapay-nonce": Word(
        "一次性随机串：8 到 128 个 A-Z a-z 0-9 . _ : - 字符，每个请求都不同",
        "Used once: 8 to 128 of A-Z a-z 0-9 . _ : - and new for every request",
        NONCE,
    ),
    "x-novapay-signature": Word(
        '签名:hex(hmac_sha256(apiSecret, "{timestamp}.{nonce}.{原始请求体}"))',
        'Signature: hex(hmac_sha256(apiSecret, "{timestamp}.{nonce}.{raw body}"))',
        SIGNATURE,
    ),
    "Idempotency-Key": Word(
        "可选的幂等键：1 到 255 个可见 ASCII 字符；同键同请求只执行一次，重复时返回首次的响应",
        "Optional: 1 to 255 visible ASCII characters; the same key and request run once, repeats get the first answer",
        "order-20260101-0001",
    ),
    "x-novapay-reason": Word(
        "可选：为什么做这个修改（UTF-8，最多 500 个字符），记入审计日志；退款的 reason 与处理异常的 note 则必填",
        "Optional: why this is changed (UTF-8, at most 500 characters), for the audit log; the reason of a refund and"
        " the note on an anomaly are fields of their own, and required",
        "as agreed by telephone",
    ),
    "X-NovaPay-Idempotency-Status": Word(
        "本次响应与幂等键的关系：created 首次执行，replayed 重放",
        "How this answer relates to the key: created ran it, replayed repeats the first answer",
        "created",
    ),
    "Retry-After": Word("多少秒后再试", "Seconds to wait before trying again", 1),
    "x-request-id": Word("请求编号；报障时请附上", "The request's id; quote it when you ask for help", "req-7f3a"),
    # errors
    "error": Word("给人看的一句话", "A sentence for a person"),
    "code": Word("稳定的错误码", "The stable code of the error"),
    "details": Word("补充信息；INVALID_REQUEST 时为 {field, reason} 列表",
                    "More about it; with INVALID_REQUEST a list of {field, reason}"),
    "message": Word("微信支付读取的说明", "The reason, as WeChat Pay reads it"),
    # path and query
    "orderReference": Word("NovaPay 的订单号，或商户自己的订单号", "NovaPay's order id or the merchant's own",
        ORDER_ID),
    "refundReference": Word("NovaPay 的退款号，或商户自己的退款号", "NovaPay's refund id or the merchant's own",
                            REFUND_ID),
    "accountId": Word("商户渠道账户编号", "Id of the merchant's channel account", ACCOUNT_ID),
    "token": Word("账户回调地址中的随机串", "Random part of the account's notification address",
                  "7Qm2vXcW9sKd3fLpRtYbNa"),
    "orderId": Word("NovaPay 的订单号", "NovaPay's order id", ORDER_ID),
    "refundId": Word("NovaPay 的退款号", "NovaPay's refund id", REFUND_ID),
    "pageSize": Word("本页最多返回多少条", "At most this many", 50),
    "pageToken": Word("上一页返回的 nextPageToken", "nextPageToken of the page before", ""),
    "nextPageToken": Word("下一页的游标；最后一页没有", "Where the next page begins; left out on the last page",
                          "eyJiZWZvcmUiOiJtY2hfMDE5In0"),
    # everywhere
    "id": Word("编号", "Id"),
    "createdAt": Word("创建时间", "When it was made", _CREATED),
    "updatedAt": Word("最近更新时间", "When it last changed", _CREATED),
    "enabled": Word("是否启用", "Whether it is in use", True),
    "currency": Word("币种，恒为 CNY", "Currency, always CNY", "CNY"),
    "merchantCode": Word("商户编码", "The merchant's code", "demo-shop"),
    "channelCode": Word("通道编码", "Channel code", "alipay.page"),
    "displayName": Word("显示名称", "Name that is shown", "支付宝电脑网站支付"),
    "metadata": Word("商户自己的数据，原样返回", "The merchant's own data, returned as it came", {"cart": "c-1024"}),
    "name": Word("名称", "Name", "示例商店"),
    "description": Word("描述", "Description", "年度会员 12 个月"),
    "status": Word("状态", "Status"),
    "reason": Word("原因", "Reason", "买家退货"),
    # orders
    "order": Word("支付订单", "The payment order"),
    "created": Word("是否新建", "Whether it was made by this request", True),
    "FlowTotals.created": Word("创建的订单数", "Orders created", 0),
    "PaymentOrder.id": Word("NovaPay 的订单号", "NovaPay's order id", ORDER_ID),
    "PaymentOrder.status": Word(
        "订单状态：PENDING 待支付，PROCESSING 渠道处理中，SUCCEEDED 已支付，FAILED 失败，CANCELLED 已关闭",
        "PENDING waits for the payer, PROCESSING at the provider, SUCCEEDED paid, FAILED, CANCELLED closed",
        "PENDING",
    ),
    "externalOrderId": Word("商户自己的订单号", "The merchant's own number of the order", "A-20260101-0001"),
    "amount": Word("金额，单位元，两位小数", "Amount in yuan with two decimals", "88.10"),
    "feeRate": Word("费率", "Fee rate", "0.0060"),
    "feeAmount": Word("手续费，金额 × 费率，四舍五入到分", "Fee: amount times rate, half-up to 0.01", "0.53"),
    "netAmount": Word("净额：金额减手续费", "Net: amount less fee", "87.57"),
    "subject": Word("商品标题", "What is paid for", "年度会员"),
    "providerStatus": Word("渠道方自己的状态用词", "The provider's own word for the state"),
    "gatewayOrderId": Word("渠道方的支付单号", "The provider's number of the payment", "2026010122001400000512345678"),
    "checkoutUrl": Word("支付地址", "Where to pay",
                        _GATEWAY),
    "hostedCheckoutUrl": Word("托管收银台地址", "The hosted cashier's page",
                              f"https://pay.example.com/pay/{ORDER_ID}"),
    "paymentMode": Word("付款方式：redirect 跳转，qr_code 扫码", "redirect to the provider, or qr_code to scan",
        "redirect"),
    "callbackStatus": Word(
        "商户回调状态：NOT_REQUIRED 无需，PENDING 待发，PROCESSING 发送中，DELIVERED 已送达，FAILED 失败",
        "State of the merchant callback: NOT_REQUIRED, PENDING, PROCESSING, DELIVERED or FAILED",
        "PENDING",
    ),
    "merchantChannelAccountId": Word("收款的商户渠道账户", "The channel account that takes the money", ACCOUNT_ID),
    "channelAccountSource": Word("账户来源，恒为 merchant", "Whose account it is, always merchant", "merchant"),
    "providerPayload": Word("渠道方返回的内容", "What the provider gave", {"method": "GET", "redirectUrl": _GATEWAY}),
    "expireAt": Word("过期时间；到期未付自动关闭", "When an unpaid order is closed", _EXPIRES),
    "paidAt": Word("支付时间；未支付为 null", "When it was paid; null until then", _PAID),
    "completedAt": Word("到达终态的时间", "When it reached its final status", _PAID),
    "refundSummary": Word("退款汇总", "Sums of the refunds"),
    "totalRequestedAmount": Word("已申请退款", "Refunds requested", "0.00"),
    "totalRefundedAmount": Word("已退款", "Refunded", "0.00"),
    "refundableAmount": Word("可退金额", "What can still be refunded", "88.10"),
    "returnUrl": Word("支付后浏览器返回地址", "Where the browser goes afterwards", "https://shop.example.com/thanks"),
    "callbackUrl": Word("商户回调地址", "Where the merchant callback goes", _CALLBACK),
    "sync": Word("是否先向渠道方查询", "Ask the provider first", True),
    # refunds
    "refund": Word("退款", "The refund"),
    "Refund.id": Word("NovaPay 的退款号", "NovaPay's refund id", REFUND_ID),
    "Refund.amount": Word("退款金额，单位元，两位小数", "Amount of the refund in yuan with two decimals", "8.10"),
    "CreateRefundRequest.amount": Word("退款金额", "Amount of the refund", "8.10"),
    "Refund.feeAmount": Word("退回的手续费", "Fee that goes back", "0.05"),
    "Refund.status": Word(
        "退款状态：PENDING 已创建，PROCESSING 处理中，SUCCEEDED 已退款，FAILED 失败",
        "PENDING made, PROCESSING at the provider, SUCCEEDED refunded, FAILED",
        "SUCCEEDED",
    ),
    "Refund.providerStatus": Word("渠道方自己的状态用词", "The provider's own word for the state", "REFUND_SUCCESS"),
    "Refund.metadata": Word("商户自己的数据，原样返回", "The merchant's own data, returned as it came",
        {"ticket": "t-7"}),
    "Refund.createdAt": Word("创建时间", "When it was made", "2026-01-01T09:15:01.000Z"),
    "Refund.updatedAt": Word("最近更新时间", "When it last changed", _REFUNDED),
    "paymentOrderId": Word("被退款的订单号", "Id of the order that is refunded", ORDER_ID),
    "externalRefundId": Word("商户自己的退款号", "The merchant's own number of the refund", "R-20260101-0001"),
    "netAmountImpact": Word("对商户净额的影响", "What it takes from the merchant's net", "8.05"),
    "providerRefundId": Word("渠道方的退款单号", "The provider's number of the refund", None),
    "failureCode": Word("失败时渠道方的错误码", "The provider's code when it failed", None),
    "failureMessage": Word("失败时渠道方的说明", "The provider's words when it failed", None),
    "refundedAt": Word("退款成功的时间", "When the money went back", _REFUNDED),
    # channels
    "channels": Word("支付通道", "The payment channels"),
    "Channel.code": Word("通道编码", "Channel code", "alipay.page"),
    "Channel.description": Word("说明", "What it is", "Alipay page pay: the payer is redirected to Alipay's cashier"),
    "provider": Word("渠道方", "The company behind it", "alipay"),
    "configured": Word("是否可用", "Whether it can be used", True),
    "implementationStatus": Word("实现状态", "How far it is", "READY"),
    "capabilities": Word("支持的能力", "What it can do", ["create", "query", "close", "refund", "notify"]),
    # merchants
    "merchants": Word("商户", "The merchants"),
    "Merchant.id": Word("商户编号", "Id of the merchant", MERCHANT_ID),
    "Merchant.code": Word("商户编码", "The merchant's code", "demo-shop"),
    "CreateMerchantRequest.code": Word("商户编码", "The merchant's code", "demo-shop"),
    "UpdateMerchantRequest.code": Word("商户编码", "The merchant's code", "demo-shop"),
    "ListMerchantsRequest.code": Word("商户编码", "The merchant's code", "demo-shop"),
    "UpdateMerchantRequest.id": Word("商户的编号或编码", "The merchant's id or code", MERCHANT_ID),
    "GetMerchantRequest.id": Word("商户的编号或编码", "The merchant's id or code", MERCHANT_ID),
    "AccountField.group": Word(
        "字段分组",
        "Group of fields",
        {
            "code": "publicKey",
            "labelZh": "公钥模式",
            "labelEn": "Public key mode",
            "helpZh": "接口加签方式为“公钥”时填写。",
            "helpEn": "When requests are signed in public key mode.",
        },
    ),
    "AccountField.name": Word("配置中的键名", "The key in the configuration", "appId"),
    "AccountFieldGroup.code": Word("分组编码", "Code of the group", "publicKey"),
    "CheckFinding.code": Word("结果代码", "Code of the finding", "PROVIDER_ACCEPTS"),
    "CheckChannelAccountRequest.id": Word("通道账户编号", "Id of the account", ACCOUNT_ID),
    "RetryCallbackRequest.id": Word("NovaPay 的订单号", "NovaPay's order id", ORDER_ID),
    "Merchant.status": Word(
        "商户状态：PENDING 待审核，APPROVED 已通过，REJECTED 已拒绝，SUSPENDED 已停用",
        "PENDING review, APPROVED, REJECTED or SUSPENDED",
        "APPROVED",
    ),
    "CreateMerchantRequest.status": Word("商户状态", "Status", "APPROVED"),
    "UpdateMerchantRequest.status": Word("商户状态", "Status", "APPROVED"),
    "legalName": Word("企业全称", "Registered name", "示例（上海）商贸有限公司"),
    "contactName": Word("联系人", "Contact person", "联系人"),
    "contactEmail": Word("联系邮箱", "Contact's email address", "pay@shop.example.com"),
    "contactPhone": Word("联系电话", "Contact's telephone", "+86 21 5550 0100"),
    "companyRegistrationId": Word("统一社会信用代码", "Company registration id", "91310000000000000X"),
    "onboardingNote": Word("入驻备注", "Note on joining", None),
    "reviewNote": Word("审核备注", "Note of the review", None),
    "approvedAt": Word("首次审核通过的时间", "First approval", _CREATED),
    "approvedBy": Word("最近一次审核通过的操作员", "Who approved last", "ops@example.com"),
    "statusChangedAt": Word("状态最近变更时间", "When the status last changed", _CREATED),
    "callbackBase": Word("默认商户回调地址", "Default address of merchant callbacks", _CALLBACK),
    "notifySecret": Word("商户回调的签名密钥", "Secret that signs merchant callbacks", "whse••••••••9fQ="),
    "apiIpWhitelist": Word("允许调用 API 的 IP 与 CIDR，用逗号、空白或换行分隔",
                           "Addresses and CIDR ranges that may call, separated by comma, space or line",
                           "203.0.113.7, 2001:db8::/32"),
    "callbackEnabled": Word("是否发送商户回调", "Whether merchant callbacks are sent", True),
    "refundCallbackEnabled": Word("是否发送退款事件", "Whether refund events are sent too", True),
    "returnDelaySeconds": Word(
        "结果页返回商户前等待的秒数", "Seconds that the result page waits before it goes on to the merchant", 5),
    "logoEtag": Word("随商户标志变化；为空表示没有标志", "Changes with the logo; empty: no logo", ""),
    # bindings
    "bindings": Word("通道路由", "The bindings"),
    "Binding.id": Word("路由编号", "Id of the binding", "bnd_01kdvdn53rewsxe88dzw3psrqf"),
    "merchantChannelAccount": Word("路由指定的账户", "The account that is bound"),
    "BoundAccount.id": Word("账户编号", "Id of the account", ACCOUNT_ID),
    "minAmount": Word("最小金额，单位元", "Least amount in yuan", "0.01"),
    "maxAmount": Word("最大金额，单位元", "Largest amount in yuan", "50000.00"),
    # settings
    "configs": Word("系统配置", "The settings"),
    "key": Word("配置项", "Name of the setting", "PAYMENT_EXPIRE_MINUTES"),
    "value": Word("值", "Its value", "30"),
    "group": Word("分组", "Group", "payment"),
    "label": Word("显示名称", "Name that is shown", "订单有效期（分钟）"),
    "success": Word("是否成功", "Whether it was done", True),
    "updated": Word("写入了多少项", "How many were written", 1),
    # callback retry
    "delivered": Word("是否已送达", "Whether it was delivered", True),
    "skipped": Word("是否没有发送", "Whether nothing was sent", False),
    "httpStatus": Word("商户返回的 HTTP 状态", "HTTP status that the merchant answered", 200),
    "errorMessage": Word("失败原因", "What went wrong", None),
    "RetryCallbackResponse.reason": Word("没有发送的原因", "Why nothing was sent", None),
    # sessions and health
    "operator": Word("操作员", "The operator"),
    "Operator.id": Word("操作员编号", "Id of the operator", "op_01kdvdmpf07z0z2zykek3aae3q"),
    "email": Word("邮箱", "Email address", "ops@example.com"),
    "password": Word("密码", "Password", "••••••••••••"),
    "role": Word("角色", "Role", "OPS_ADMIN"),
    "csrfToken": Word("页面修改数据时放在 x-csrf-token 头里的值", "Goes into the header x-csrf-token of changes",
                      "c0ffee5a9d1e4b7f8a2c3d6e9f10b4a7c0ffee5a9d1e4b7f8a2c3d6e9f10b4a7"),
    "expiresAt": Word("到期时间", "When it ends", "2026-01-01T12:00:00.000Z"),
    "ok": Word("是否正常", "Whether all is well", True),
    "database": Word("数据库状态", "State of the database", "ok"),
}  # fmt: skip


def word_for(message: str, json_name: str) -> Word | None:
    """What `json_name` means in `message` (the message's plain name)."""
    return WORDS.get(f"{message}.{json_name}") or WORDS.get(json_name)
