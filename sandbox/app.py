"""The WSGI application: routes of both providers, the cashier, control calls, the demo merchant."""

import falcon

from sandbox.alipay_gateway import AlipayGateway
from sandbox.cashier import Cashier
from sandbox.control import Control
from sandbox.pages import render
from sandbox.scenarios import AMOUNT_TABLE, SCENARIOS
from sandbox.state import SandboxState
from sandbox.wechat_api import WechatApi
from sandbox.wire_faults import WireFaultMiddleware

App = falcon.App[falcon.Request, falcon.Response]


def create_app(state: SandboxState) -> WireFaultMiddleware:
    """Builds the application over a state; the caller starts and stops the state."""
    app: App = falcon.App()
    app.req_options.strip_url_path_trailing_slash = False
    gateway = AlipayGateway(state.trading)
    cashier = Cashier(state.trading)
    app.add_route("/", _Index(state))
    app.add_route("/health", _Health())
    app.add_route("/alipay/gateway.do", gateway)
    app.add_route("/cashier/{provider}/{token}", cashier)
    _add_wechat_routes(app, WechatApi(state.trading))
    _add_control_routes(app, Control(state, gateway, cashier))
    app.add_route("/merchant/callback/{name}", state.merchants, suffix="callback")
    app.add_route("/merchant/{name}/deliveries", state.merchants, suffix="deliveries")
    app.add_route("/merchant/{name}/books", state.merchants, suffix="books")
    return WireFaultMiddleware(app, state.running)


def _add_wechat_routes(app: App, api: WechatApi) -> None:
    """The API under `/wechat`, and at the root for client libraries that know only host names."""
    for base in ("/wechat/v3", "/v3"):
        transactions, refunds = f"{base}/pay/transactions", f"{base}/refund/domestic/refunds"
        app.add_route(f"{transactions}/native", api, suffix="native")
        app.add_route(f"{transactions}/out-trade-no/{{number}}", api, suffix="by_number")
        app.add_route(f"{transactions}/id/{{number}}", api, suffix="by_transaction")
        app.add_route(f"{transactions}/out-trade-no/{{number}}/close", api, suffix="close")
        app.add_route(refunds, api, suffix="refunds")
        app.add_route(f"{refunds}/{{number}}", api, suffix="refund")
        app.add_route(f"{base}/certificates", api, suffix="certificates")
        app.add_sink(api.sink, f"{base}/")


def _add_control_routes(app: App, control: Control) -> None:
    for name in ("accounts", "rotate", "grey", "open", "pay", "notify", "refunds", "scenarios",
                 "settings", "clock", "books", "reset", "merchants"):  # fmt: skip
        app.add_route(f"/control/{name}", control, suffix=name)
    app.add_route("/control/merchants/{name}/behaviour", control, suffix="behaviour")


class _Health:
    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Up."""
        resp.media = {"ok": True}


class _Index:
    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """What this is, the accounts, and the table of scenarios."""
        render(
            resp,
            "index.html",
            accounts=self._state.accounts.every(),
            amounts=[(fen, op, SCENARIOS[name]) for fen, (op, name) in AMOUNT_TABLE.items()],
            scenarios=SCENARIOS.values(),
            merchants=self._state.merchants.names(),
        )
