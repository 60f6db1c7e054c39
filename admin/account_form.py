"""Forms of channel accounts, made from what the provider modules declare, and the doctor's findings as texts.

Both consoles use it; a new provider needs no page of its own. Fields are named `config.<key>`, as the core names them
in what it refuses.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from admin.layout.formats import enum
from admin.texts import has_text
from admin.visit import Visit
from core_service.errors import CoreError
from novapay.merchants.v1 import merchant_service_pb2 as merchants

PREFIX = "config."


@dataclass(frozen=True)
class Input:
    """One field as it is shown."""

    name: str
    label: str
    help: str
    required: bool
    optional: bool
    """Neither required nor in a group, which says itself when it is filled in."""
    secret: bool
    kind: str
    """TEXT, PEM, PEM_LIST or URL."""
    value: str
    """Empty for a secret."""
    mask: str
    """What a stored secret looks like; empty when there is none."""


@dataclass(frozen=True)
class Group:
    """Fields under one heading; the fields of no group have none."""

    label: str
    help: str
    inputs: Sequence[Input]
    is_open: bool
    """A value is given, or there is none in any group yet."""


@dataclass(frozen=True)
class FindingText:
    """A finding in words."""

    code: str
    severity: str
    text: str
    remedy: str
    """What to do; empty when there is nothing to do."""


async def describe(visit: Visit, channel_code: str) -> merchants.DescribeChannelAccountResponse:
    """What the provider of a channel declares. Raises CoreError."""
    request = merchants.DescribeChannelAccountRequest(channel_code=channel_code)
    answer: merchants.DescribeChannelAccountResponse = await visit.call(
        "MerchantService.DescribeChannelAccount", request
    )
    return answer


def groups_of(
    visit: Visit, declared: merchants.DescribeChannelAccountResponse, stored: str = "{}"
) -> list[Group]:
    """The form; `stored` is the account's configuration with masked secrets."""
    config = json.loads(stored)
    used = {
        field.group.code
        for field in declared.fields
        if field.HasField("group") and config.get(field.name)
    }
    groups = []
    for code, fields in groupby(declared.fields, key=lambda field: field.group.code):
        members = list(fields)
        group = members[0].group
        groups.append(
            Group(
                label=_spoken(visit, group, "label") if code else "",
                help=_spoken(visit, group, "help") if code else "",
                inputs=[_input(visit, field, config) for field in members],
                is_open=not used or code in used or visit.failure is not None,
            )
        )
    return groups


def config_from(
    visit: Visit, declared: merchants.DescribeChannelAccountResponse, stored: str = "{}"
) -> str:
    """What was changed in the form, as the JSON text that the core takes; empty fields are taken out.

    A secret that was left empty stays as it is.
    """
    config = json.loads(stored)
    changed: dict[str, str | None] = {}
    for field in declared.fields:
        given = _plain(visit.form.trimmed(PREFIX + field.name))
        before = "" if field.secret else _plain(_text(config.get(field.name)))
        if given != before:
            changed[field.name] = given or None
    return json.dumps(changed, ensure_ascii=False)


def finding_texts(
    visit: Visit,
    check: merchants.AccountCheck,
    declared: merchants.DescribeChannelAccountResponse,
) -> list[FindingText]:
    """Findings in the viewer's language, the worst first."""
    labels = {field.name: _spoken(visit, field, "label") for field in declared.fields}
    order = ("ERROR", "WARNING", "OK")
    found = [_finding_text(visit, finding, labels) for finding in check.findings]
    return sorted(found, key=lambda finding: order.index(finding.severity))


async def check_after_saving(visit: Visit, account_id: str) -> None:
    """Lets the doctor look; what was saved is saved, whether he can or not."""
    try:
        await visit.call(
            "MerchantService.CheckChannelAccount",
            merchants.CheckChannelAccountRequest(id=account_id),
        )
    except CoreError:
        # The page shows then that nobody has looked, and has a button for it.
        return


def _finding_text(
    visit: Visit, finding: merchants.CheckFinding, labels: Mapping[str, str]
) -> FindingText:
    facts = {fact.name: fact.value for fact in finding.facts}
    facts["field"] = labels.get(facts.get("field", ""), facts.get("field", ""))
    if "reason" in facts:
        facts["reason"] = visit.reason(facts["reason"])
    key, remedy = f"check.{finding.code}", f"check.{finding.code}_do"
    return FindingText(
        code=finding.code,
        severity=enum(finding, "severity"),
        text=visit.t(key, **facts) if has_text(key) else finding.code,
        remedy=visit.t(remedy, **facts) if has_text(remedy) else "",
    )


def _input(visit: Visit, field: merchants.AccountField, config: Mapping[str, Any]) -> Input:
    shown = _text(config.get(field.name))
    return Input(
        name=PREFIX + field.name,
        label=_spoken(visit, field, "label"),
        help=_spoken(visit, field, "help"),
        required=field.required and not field.HasField("group"),
        optional=not field.required and not field.HasField("group"),
        secret=field.secret,
        kind=enum(field, "kind"),
        value="" if field.secret else visit.form.get(PREFIX + field.name, shown),
        mask=shown if field.secret else "",
    )


def _spoken(visit: Visit, message: Any, name: str) -> str:
    text: str = getattr(message, f"{name}_{'en' if visit.language == 'en' else 'zh'}")
    return text


def _text(value: object) -> str:
    """A stored value as it is edited; several certificates stand one after the other."""
    if isinstance(value, list):
        return "\n".join(str(item).strip() for item in value)
    return "" if value is None else str(value)


def _plain(text: str) -> str:
    """Browsers send lines with CR and LF."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
