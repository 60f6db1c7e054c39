"""Orders, refunds and deliveries: the operators' pages, which the session keeps to one merchant."""

from admin.console import Family
from admin.operator import anomalies, deliveries, orders, refunds


class Orders(orders.Orders):
    """The merchant's orders."""

    path = "/merchant/orders"


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
