"""What may go wrong, and how a test or a person asks for it.

A scenario is chosen in two ways:

* by amount: the last two digits of the amount (the fen part) of an order or a refund, see
  `AMOUNT_TABLE`. Each strikes once per merchant number and operation, so that a repeat heals,
  except those marked `always`. `POST /control/settings {"amountScenarios": false}` ends this;
* by control call: `POST /control/scenarios`, see `sandbox/control.py`. Control rules win.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Family = Literal["answer", "payment", "refund", "push"]


@dataclass(frozen=True)
class Scenario:
    """A behaviour: where it applies (`family`), whether the effect is done, and its words."""

    name: str
    family: Family
    zh: str
    en: str
    effect: bool = True
    always: bool = False


_ALL = (
    # answer: strikes a call to the provider's interface
    Scenario("timeout_after_success", "answer", "已处理，但应答永远不到",
             "done, but the answer never comes (connection held)"),
    Scenario("timeout_without_effect", "answer", "未处理，应答永远不到",
             "not done, no answer (connection held)", effect=False),
    Scenario("error_after_success", "answer", "已处理，但应答系统错误",
             "done, but answered 500 SYSTEM_ERROR / signed ACQ.SYSTEM_ERROR"),
    Scenario("error_without_effect", "answer", "未处理，应答系统错误",
             "not done, answered 500 SYSTEM_ERROR / signed ACQ.SYSTEM_ERROR", effect=False),
    Scenario("reset_after_success", "answer", "已处理，应答中途连接被重置",
             "done, connection reset in the middle of the answer"),
    Scenario("reset_without_effect", "answer", "未处理，连接被重置",
             "not done, connection reset", effect=False),
    Scenario("refused", "answer", "明确拒绝", "a definite no", effect=False, always=True),
    Scenario("unsigned_answer", "answer", "已处理，应答没有签名", "done, answer without signature"),
    Scenario("bad_signature_answer", "answer", "已处理，应答签名错误",
             "done, answer with a wrong signature"),
    Scenario("signtest_answer", "answer", "已处理，应答为签名探测",
             "done, answer signed WECHATPAY/SIGNTEST/ (Alipay: wrong signature)"),
    Scenario("html_answer", "answer", "已处理，应答为 HTML", "done, answer is an HTML page"),
    Scenario("cut_answer", "answer", "已处理，应答 JSON 被截断", "done, answer is cut JSON"),
    Scenario("other_order_answer", "answer", "应答真实但属于另一订单",
             "a genuine, signed answer about another order"),
    Scenario("slow_answer", "answer", "已处理，应答迟到",
             "done at once, the right answer comes after delaySeconds (3)"),
    Scenario("slow_effect", "answer", "延迟处理",
             "waits delaySeconds (3), then does it and answers rightly"),
    Scenario("rate_limited", "answer", "未处理，限流", "not done, 429 / code 40005", effect=False),
    Scenario("balance_too_low", "answer", "退款失败：商户余额不足",
             "refund refused: merchant balance too low", effect=False),
    # payment: what happens when the payer presses Pay
    Scenario("pays_late", "payment", "订单关闭或过期后才到账",
             "the money arrives only after the order was closed or has expired", always=True),
    Scenario("pays_twice", "payment", "同一订单支付两次",
             "two payments with two transaction numbers on one out_trade_no"),
    # refund: how an accepted refund ends
    Scenario("refund_pending", "refund", "退款处理中，较久后成功",
             "stays PROCESSING for delaySeconds (10; null: until /control/refunds), then SUCCESS"),
    Scenario("refund_closed", "refund", "退款最终关闭", "PROCESSING, then CLOSED (no money moved)"),
    Scenario("refund_abnormal", "refund", "退款异常", "PROCESSING, then ABNORMAL"),
    # push: what happens to a notification
    Scenario("notify_lost", "push", "通知丢失", "never sent"),
    Scenario("notify_duplicate", "push", "通知重复三次", "sent three times, half a second apart"),
    Scenario("notify_concurrent", "push", "同一通知同时到达多次",
             "sent `copies` (2) times at the same moment"),
    Scenario("notify_out_of_order", "push", "通知乱序",
             "Alipay: SUCCESS, then WAIT_BUYER_PAY, then TRADE_CLOSED; WeChat Pay: overtaken by "
             "later events (held back 5 s)"),
    Scenario("notify_delayed", "push", "通知延迟", "first sent after delaySeconds (10)"),
    Scenario("notify_bad_signature", "push", "首次通知签名错误，重试正确",
             "the first `attempts` (1) carry a wrong signature, retries are right"),
    Scenario("notify_signtest", "push", "首次通知为签名探测",
             "the first is a WECHATPAY/SIGNTEST/ probe (Alipay: wrong signature)"),
    Scenario("notify_stale", "push", "通知时间戳过期",
             "WeChat Pay: validly signed, timestamp ten minutes old, on the first attempt"),
    Scenario("notify_tampered_amount", "push", "签名有效但金额被改",
             "validly signed, one fen more"),
    Scenario("notify_wrong_app", "push", "签名有效但 app_id 不符",
             "validly signed, other app id"),
    Scenario("notify_wrong_seller", "push", "签名有效但收款方不符",
             "validly signed, other seller_id / mchid"),
    Scenario("notify_unknown_order", "push", "签名有效但订单不存在",
             "validly signed, about an out_trade_no that nobody has"),
    Scenario("notify_bad_ciphertext", "push", "密文无法解开",
             "WeChat Pay: validly signed, ciphertext does not open"),
    Scenario("notify_empty_aad", "push", "associated_data 为空串",
             "WeChat Pay: empty associated_data"),
    Scenario("notify_no_aad", "push", "没有 associated_data", "WeChat Pay: no associated_data"),
)  # fmt: skip

SCENARIOS = {scenario.name: scenario for scenario in _ALL}

AMOUNT_TABLE: dict[int, tuple[str, str]] = {
    # fen part -> (operation it strikes, scenario). Round and repeated digits stay free.
    41: ("notify", "notify_lost"),
    42: ("notify", "notify_duplicate"),
    43: ("notify", "notify_concurrent"),
    46: ("notify", "notify_out_of_order"),
    47: ("notify", "notify_delayed"),
    48: ("notify", "notify_bad_signature"),
    49: ("notify", "notify_tampered_amount"),
    51: ("notify", "notify_wrong_app"),
    52: ("pay", "pays_late"),
    53: ("pay", "pays_twice"),
    54: ("close", "timeout_after_success"),
    56: ("close", "timeout_without_effect"),
    57: ("close", "error_after_success"),
    58: ("close", "error_without_effect"),
    71: ("create", "timeout_after_success"),
    72: ("create", "timeout_without_effect"),
    73: ("create", "error_after_success"),
    74: ("create", "error_without_effect"),
    76: ("create", "reset_after_success"),
    78: ("create", "refused"),
    79: ("create", "unsigned_answer"),
    81: ("create", "bad_signature_answer"),
    82: ("create", "html_answer"),
    83: ("create", "cut_answer"),
    84: ("create", "rate_limited"),
    86: ("refund", "balance_too_low"),
    87: ("refund", "refund_pending"),
    89: ("refund", "refund_closed"),
    91: ("refund", "refund_abnormal"),
}
"""The fen part of an order's amount, or of a refund's own amount. The rows of `create` strike a
refund of that amount in the same way; Alipay's page pay has no create call, so there they strike
refunds only."""

OPERATIONS = ("create", "query", "close", "refund", "refund_query", "certificates", "pay", "notify")
_OPERATIONS_OF_FAMILY: dict[Family, tuple[str, ...]] = {
    "answer": ("create", "query", "close", "refund", "refund_query", "certificates"),
    "payment": ("pay",),
    "refund": ("refund",),
    "push": ("notify",),
}


@dataclass(frozen=True)
class Occasion:
    """A moment at which a scenario may strike; `number` is the order's or the refund's."""

    provider: str
    account: str
    operation: str
    number: str
    out_trade_no: str
    amount_fen: int | None = None
    event: str = ""


@dataclass
class Rule:
    """A scenario asked for by a control call; `remaining` counts down, None is for ever."""

    scenario: Scenario
    match: dict[str, str]
    remaining: int | None
    options: dict[str, Any]

    def fits(self, occasion: Occasion) -> bool:
        """Whether every field of `match` equals the occasion's."""
        facts = {
            "provider": occasion.provider,
            "account": occasion.account,
            "operation": occasion.operation,
            "outTradeNo": occasion.out_trade_no,
            "number": occasion.number,
            "event": occasion.event,
        }
        return self.remaining != 0 and all(facts[k] == v for k, v in self.match.items())


MATCH_FIELDS = ("provider", "account", "operation", "outTradeNo", "number", "event")


@dataclass(frozen=True)
class Chosen:
    """The scenario that strikes now, with its options."""

    scenario: Scenario
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The scenario's name."""
        return self.scenario.name

    def seconds(self, default: float) -> float | None:
        """Option `delaySeconds`; None means for ever."""
        value = self.options.get("delaySeconds", default)
        return None if value is None else float(value)


class Scenarios:
    """Rules in force. Kept in memory: a restart of the sandbox forgets them."""

    def __init__(self) -> None:
        self.amount_scenarios = True
        self._rules: list[Rule] = []
        self._struck: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()

    def add(
        self, name: str, match: dict[str, str], times: int | None, options: dict[str, Any]
    ) -> None:
        """Adds a rule; ValueError names what is wrong with it."""
        if name not in SCENARIOS:
            raise ValueError(f"unknown scenario {name!r}; see GET /control/scenarios")
        unknown = set(match) - set(MATCH_FIELDS)
        if unknown:
            raise ValueError(f"unknown match field {unknown.pop()!r}, known: {MATCH_FIELDS}")
        scenario = SCENARIOS[name]
        operation = match.get("operation")
        if operation and operation not in _OPERATIONS_OF_FAMILY[scenario.family]:
            raise ValueError(f"{name} cannot strike operation {operation!r}")
        with self._lock:
            self._rules.append(Rule(scenario, match, times, options))

    def clear(self) -> None:
        """Drops all rules and the memory of what struck already."""
        with self._lock:
            self._rules.clear()
            self._struck.clear()

    def listing(self) -> list[dict[str, Any]]:
        """The rules in force."""
        with self._lock:
            return [
                {"scenario": r.scenario.name, "match": r.match, "remaining": r.remaining,
                 "options": r.options}
                for r in self._rules if r.remaining != 0
            ]  # fmt: skip

    def choose(self, family: Family, occasion: Occasion) -> Chosen | None:
        """The scenario of this family that strikes, or None; uses up one of its times."""
        if occasion.operation not in _OPERATIONS_OF_FAMILY[family]:
            return None
        with self._lock:
            for rule in self._rules:
                if rule.scenario.family == family and rule.fits(occasion):
                    if rule.remaining is not None:
                        rule.remaining -= 1
                    return Chosen(rule.scenario, rule.options)
            return self._by_amount(family, occasion)

    def _by_amount(self, family: Family, occasion: Occasion) -> Chosen | None:
        if not self.amount_scenarios or occasion.amount_fen is None:
            return None
        operation, name = AMOUNT_TABLE.get(occasion.amount_fen % 100, ("", ""))
        shared = operation == "create" and occasion.operation == "refund"
        if not name or (operation != occasion.operation and not shared):
            return None
        scenario = SCENARIOS[name]
        if scenario.family != family:
            return None
        key = (occasion.provider, occasion.account, occasion.operation, occasion.number, name)
        if not scenario.always and key in self._struck:
            return None
        self._struck.add(key)
        return Chosen(scenario)
