"""The audit log over HTTP and from the command line."""

from tests.stack import AdminSession, Stack


def test_the_log_is_listed_with_its_chain_and_verified(stack: Stack, admin: AdminSession) -> None:
    listed = admin.get("/api/admin/audit-records?page_size=2").json
    newest, before = listed["records"]
    assert int(newest["sequence"]) == int(before["sequence"]) + 1
    assert 64 == len(newest["hash"])
    assert listed["nextPageToken"]
    found = admin.get("/api/admin/audit-records/verification").json
    assert (True, "") == (found["intact"], found["problem"])
    assert int(found["checked"]) == int(found["lastSequence"]) >= int(newest["sequence"])
    printed = stack.cli("audit", "verify")
    assert printed["intact"] is True


def test_a_reason_in_the_header_is_kept(stack: Stack, admin: AdminSession) -> None:
    answer = stack.http.request(
        "PUT",
        "/api/admin/system-config",
        body=b'{"configs":[{"key":"SETTLEMENT_HOLD_DAYS","value":"1"}]}',
        headers={
            "cookie": admin.cookie,
            "origin": admin.origin,
            "content-type": "application/json",
            "x-novapay-reason": "as agreed",
        },
    )
    assert (200, 1) == (answer.status, answer.json["updated"])
    newest = admin.get("/api/admin/audit-records?target=system_config&page_size=1").json["records"][
        0
    ]
    assert "as agreed" == newest["reason"]
    assert {"SETTLEMENT_HOLD_DAYS": "1"} == newest["after"]
