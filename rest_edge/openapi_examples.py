"""Samples in the OpenAPI document: made from the examples of the fields, so that they always fit their schema.

What an operation's sample shows differently (a paid order, a closed one) is listed in `CHANGES`.
"""

from typing import Any

Schema = dict[str, Any]

_LEGACY_REFERENCES = ("orderId", "externalOrderId", "refundId", "externalRefundId")

_UNPAID = {
    "gatewayOrderId": None,
    "providerStatus": None,
    "paidAt": None,
    "completedAt": None,
    "updatedAt": "2026-01-01T00:00:00.000Z",
}
_PAID = {
    "status": "SUCCEEDED",
    "providerStatus": "TRADE_SUCCESS",
    "callbackStatus": "DELIVERED",
    "updatedAt": "2026-01-01T00:01:12.000Z",
}
_CLOSED = _UNPAID | {
    "status": "CANCELLED",
    "providerStatus": "TRADE_CLOSED",
    "completedAt": "2026-01-01T00:10:40.000Z",
    "updatedAt": "2026-01-01T00:10:40.000Z",
}

CHANGES: dict[str, tuple[Schema, Schema]] = {
    # operation id → what its request and its answer show otherwise
    "createPaymentOrder": ({"currency": "CNY"}, {"order": _UNPAID}),
    "queryPaymentOrder": ({}, {"created": False, "order": _PAID}),
    "closePaymentOrder": ({}, {"created": False, "order": _CLOSED}),
    "queryRefund": ({}, {"created": False}),
    "resolveAnomaly": ({"note": "Refunded by hand; the payer knows."}, {}),
}
ONLY: dict[str, tuple[str, ...]] = {
    # operation id → fields that a sensible request has
    "updateMerchant": ("callbackBase", "apiIpWhitelist"),
    "updateSystemConfigs": ("configs",),
    "signIn": ("email", "password"),
}


def add_examples(paths: Schema) -> None:
    """Give every JSON body and every JSON answer that has none a sample."""
    for operations in paths.values():
        for operation in operations.values():
            request_changes, answer_changes = CHANGES.get(
                operation["operationId"].removesuffix("Legacy"), ({}, {})
            )
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body:
                body["example"] = merged(_request(operation, body["schema"]), request_changes)
            for response in operation["responses"].values():
                for media in response.get("content", {}).values():
                    if "example" not in media and media["schema"].get("properties"):
                        media["example"] = merged(example_of(media["schema"]), answer_changes)


def _request(operation: Schema, schema: Schema) -> Any:
    sample = example_of(schema)
    if operation.get("deprecated"):
        required = schema.get("required", ())
        for name in _LEGACY_REFERENCES:
            if name in sample and name not in required:
                del sample[name]
    only = ONLY.get(operation["operationId"])
    return {name: sample[name] for name in only} if only else sample


def example_of(schema: Schema) -> Any:
    """A value that fits: the first example, constant or allowed value, else the parts' examples, else null or empty."""
    for known in ("examples", "enum"):
        if known in schema:
            return schema[known][0]
    if "properties" in schema:
        return {name: example_of(inner) for name, inner in schema["properties"].items()}
    if "items" in schema:
        return [example_of(schema["items"])]
    kinds = schema.get("type", "null")
    if "null" in kinds:
        return None
    return {"object": {}, "boolean": True, "integer": 1}.get(kinds, "")


def merged(sample: Any, changes: Schema) -> Any:
    """`sample` with what `changes` says otherwise, deeply; names that it does not have are left out."""
    if not isinstance(sample, dict):
        return sample
    return {
        name: merged(value, changes[name])
        if isinstance(changes.get(name), dict) and isinstance(value, dict)
        else changes.get(name, value)
        for name, value in sample.items()
    }
