"""Templates to pages, and errors to pages."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from admin import texts
from admin.layout import formats
from admin.layout.anomalies import anomaly_detail
from admin.static_files import static_url
from admin.visit import REASON_FIELD, Reply, Visit
from core_service.errors import CoreError, Family

STATUS_BY_FAMILY: Mapping[Family, int] = {
    Family.INVALID_ARGUMENT: 400,
    Family.UNAUTHENTICATED: 401,
    Family.PERMISSION_DENIED: 403,
    Family.NOT_FOUND: 404,
    Family.CONFLICT: 409,
    Family.UNPROCESSABLE: 422,
    Family.RATE_LIMITED: 429,
    Family.PROVIDER_FAILURE: 502,
    Family.UNAVAILABLE: 503,
    Family.INTERNAL: 500,
}

templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.globals.update(
    static=static_url,
    has_text=texts.has_text,
    optional=formats.optional,
    reason_field=REASON_FIELD,
)
templates.filters.update(
    money=formats.money, number=formats.number, moment=formats.moment, enum=formats.enum
)


def render(visit: Visit, template: str, *, status: int | None = None, **values: Any) -> Reply:
    """A page from a template of `admin`, such as `operator/settings.html`; `status` is that of a refusal it shows.

    Beside `values` it knows `ui` (the macros), `visit`, `t` (texts), `may` (an RPC), `here` (this address, changed) and
    `anomaly_detail`.
    """
    known = {
        "visit": visit,
        "viewer": visit.viewer,
        "console": visit.console,
        "t": visit.t,
        "may": visit.may,
        "here": visit.here,
        "anomaly_detail": partial(anomaly_detail, visit),
        "failure": error_view(visit.failure, visit) if visit.failure is not None else None,
    }
    if status is None:
        status = STATUS_BY_FAMILY[visit.failure.family] if visit.failure is not None else 200
    macros = templates.get_template("layout/macros.html").make_module(known)
    page = templates.get_template(template).render(ui=macros, **known, **values)
    return Reply(status=status, body=page.encode("utf-8"))


def error_page(error: CoreError, visit: Visit) -> Reply:
    """A sentence for a person, the code, the request id and what to do next."""
    reply = render(
        visit,
        "layout/error.html",
        status=STATUS_BY_FAMILY[error.family],
        error=error_view(error, visit),
    )
    if error.retry_after_seconds is not None:
        reply.headers.append(("retry-after", str(error.retry_after_seconds)))
    return reply


def error_view(error: CoreError, visit: Visit) -> dict[str, Any]:
    """What the templates show of an error."""
    internal = error.family is Family.INTERNAL
    return {
        "code": "INTERNAL" if internal else error.reason,
        "sentence": _sentence(error, visit),
        "advice": visit.t(f"advice.{error.family.value}"),
        "violations": [
            {"field": item.field, "reason": visit.reason(item.reason)} for item in error.violations
        ],
        "retry_after_seconds": error.retry_after_seconds,
        "request_id": visit.request.request_id,
    }


def _sentence(error: CoreError, visit: Visit) -> str:
    """The core speaks English; its own words are kept there, as they may say more than the code does."""
    if error.family is Family.INTERNAL:
        return visit.t("error.INTERNAL")
    key = f"error.{error.reason}"
    if error.violations and texts.has_text(key):  # what is wrong stands beside it
        return visit.t(key)
    return error.message if visit.language == "en" or not texts.has_text(key) else visit.t(key)
