"""Orders, refunds and deliveries: the operators' pages, which the session keeps to one merchant."""

from admin.console import Family
from admin.merchant.own import own_code
from admin.operator import anomalies, deliveries, orders, refunds
from admin.visit import Visit
from novapay.merchants.v1 import merchant_service_pb2 as merchants


class Orders(orders.Orders):
    """The merchant's orders."""

    path = "/merchant/orders"

    async def place_of(self, visit: Visit, number: str) -> str:
        """The page of an account or an API key of the merchant, or of the merchant itself."""
        own_id = number.lower()
        if own_id.startswith("acc_") and visit.may("MerchantService.ListChannelAccounts"):
            accounts = await visit.call(
                "MerchantService.ListChannelAccounts", merchants.ListChannelAccountsRequest()
            )
            is_ours = any(account.id == own_id for account in accounts.accounts)
            return f"/merchant/accounts/{own_id}" if is_ours else ""
        if own_id.startswith("npk_") and visit.may("MerchantService.ListCredentials"):
            keys = await visit.call(
                "MerchantService.ListCredentials", merchants.ListCredentialsRequest()
            )
            is_ours = any(key.key_id == own_id for key in keys.credentials)
            return "/merchant/credentials" if is_ours else ""
        return "/merchant/profile" if number == own_code(visit) else ""


class OrdersFile(orders.OrdersFile):
    """The same as CSV."""

    path = "/merchant/orders.csv"


class Order(orders.Order):
    """One of them."""

    path = "/merchant/orders/{order_id}"


class Refunds(refunds.Refunds):
    """The merchant's refunds."""

    path = "/merchant/refunds"


class RefundsFile(refunds.RefundsFile):
    """The same as CSV."""

    path = "/merchant/refunds.csv"


class Deliveries(deliveries.Deliveries):
    """What the merchant was told."""

    path = "/merchant/deliveries"


class DeliveriesFile(deliveries.DeliveriesFile):
    """The same as CSV."""

    path = "/merchant/deliveries.csv"


class Delivery(deliveries.Delivery):
    """One event, with each attempt."""

    path = "/merchant/deliveries/{delivery_id}"


class Anomalies(anomalies.Anomalies):
    """What somebody should look at; putting it away is the operators'."""

    path = "/merchant/anomalies"


FAMILIES = (
    Family("orders", "payments", (Orders, OrdersFile, Order)),
    Family("refunds", "payments", (Refunds, RefundsFile)),
    Family("deliveries", "payments", (Deliveries, DeliveriesFile, Delivery)),
    Family("anomalies", "payments", (Anomalies,)),
)
