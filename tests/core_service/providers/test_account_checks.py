"""The doctor's look at an account, against the sandbox: each fault gives its finding, a good account none."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from core_service.domain.account_check import Code, Finding, Severity, worst
from core_service.outbound_http import ProviderClient
from core_service.providers.alipay.page import AlipayPage
from core_service.providers.base import OWN_KEY, AccountConfigInvalid, Provider, ProviderAccount
from core_service.providers.wxpay.native import WxpayNative
from sandbox import rsa_keys
from sandbox.server import SandboxServer
from tests.core_service.providers.canned_server import CannedAnswer, canned_server

SECONDS = 5.0
ALIPAY_FACTS = {Code.PRIVATE_KEY_GOOD, Code.CLOCK_RIGHT, Code.PROVIDER_ACCEPTS, Code.PROVIDER_TRUSTED}  # fmt: skip
WECHAT_FACTS = {*ALIPAY_FACTS, Code.API_V3_KEY_WORKS, Code.APP_ID_UNPROVEN}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    directory: Path = tmp_path_factory.mktemp("sandbox")
    with SandboxServer(directory) as server:
        yield server


@pytest.fixture(scope="module")
def client() -> Iterator[ProviderClient]:
    with ProviderClient() as made:
        yield made


class Doctor:
    """Examines configurations of the sandbox's accounts."""

    def __init__(self, sandbox: SandboxServer, client: ProviderClient) -> None:
        self.providers: dict[str, Provider] = {
            "alipay.page": AlipayPage(client),
            "wxpay.native": WxpayNative(client),
        }
        self.accounts: list[dict[str, Any]] = sandbox.get("/control/accounts")["accounts"]

    def config(self, channel: str, mode: str) -> dict[str, Any]:
        chosen = next(a for a in self.accounts if (a["channel"], a["mode"]) == (channel, mode))
        return dict(chosen["config"])

    def examine(
        self, config: dict[str, Any], *, at: datetime | None = None, seconds: float = SECONDS
    ) -> dict[Code, dict[str, str]]:
        """Codes and facts."""
        channel = "wxpay.native" if "mchId" in config else "alipay.page"
        provider = self.providers[channel]
        provider.validate_config(config, allow_custom_base_url=True)
        account = ProviderAccount("acc_1", "mch_1", channel, config, "https://pay.example/callback")
        now = at or datetime.now(UTC)
        findings = provider.check_account(account, now=now, timeout_seconds=seconds)
        assert len({finding.code for finding in findings}) >= len(findings) - 1  # two certificates
        return {finding.code: dict(finding.facts) for finding in findings}

    def violations(self, config: dict[str, Any]) -> dict[str, str]:
        channel = "wxpay.native" if "mchId" in config else "alipay.page"
        with pytest.raises(AccountConfigInvalid) as refusal:
            self.providers[channel].validate_config(config, allow_custom_base_url=True)
        return refusal.value.violations


@pytest.fixture(scope="module")
def doctor(sandbox: SandboxServer, client: ProviderClient) -> Doctor:
    return Doctor(sandbox, client)


@pytest.mark.parametrize(
    ("channel", "mode", "expected"),
    [
        ("alipay.page", "public_key", {*ALIPAY_FACTS, Code.MODE_PUBLIC_KEY}),
        ("alipay.page", "cert", {*ALIPAY_FACTS, Code.MODE_CERTIFICATE, Code.CERTIFICATE_VALID}),
        (
            "wxpay.native",
            "platform_cert",
            {*WECHAT_FACTS, Code.MODE_CERTIFICATE, Code.CERTIFICATE_VALID},
        ),
        (
            "wxpay.native",
            "both",
            {*WECHAT_FACTS, Code.MODE_PUBLIC_KEY, Code.CERTIFICATE_VALID},
        ),
    ],
)
def test_good_accounts_are_green(
    doctor: Doctor, channel: str, mode: str, expected: set[Code]
) -> None:
    assert set(doctor.examine(doctor.config(channel, mode))) == expected


def test_a_wechat_public_key_merchant_proves_what_it_can(doctor: Doctor) -> None:
    found = doctor.examine(doctor.config("wxpay.native", "public_key"))
    assert {Code.PROVIDER_ACCEPTS, Code.MODE_PUBLIC_KEY, Code.CLOCK_RIGHT} <= set(found)
    assert Code.API_V3_KEY_WRONG not in found
    assert Code.ANSWER_NOT_TRUSTED not in found


def test_certificates_that_download_by_themselves_need_not_be_given(doctor: Doctor) -> None:
    config = doctor.config("wxpay.native", "platform_cert")
    del config["platformCertificates"]
    found = doctor.examine(config)
    assert {Code.PROVIDER_TRUSTED, Code.CERTIFICATE_VALID} <= set(found)


@pytest.mark.parametrize(
    ("channel", "mode"), [("alipay.page", "public_key"), ("wxpay.native", "platform_cert")]
)
def test_a_wrong_private_key_is_refused_by_the_provider(
    doctor: Doctor, channel: str, mode: str
) -> None:
    config = doctor.config(channel, mode) | {"privateKey": rsa_keys.new_private_key()}
    found = doctor.examine(config)
    assert Code.SIGNATURE_REFUSED in found
    assert Code.PROVIDER_ACCEPTS not in found
    assert found[Code.SIGNATURE_REFUSED]["providerCode"] in ("isv.invalid-signature", "SIGN_ERROR")


def test_a_wrong_alipay_public_key_makes_answers_untrusted(doctor: Doctor) -> None:
    stranger = rsa_keys.public_pem(rsa_keys.new_private_key())
    config = doctor.config("alipay.page", "public_key") | {"alipayPublicKey": stranger}
    found = doctor.examine(config)
    assert found[Code.ANSWER_NOT_TRUSTED] == {"reason": "bad_signature"}


def test_a_wrong_wechat_public_key_makes_answers_untrusted(doctor: Doctor) -> None:
    stranger = rsa_keys.public_pem(rsa_keys.new_private_key())
    config = doctor.config("wxpay.native", "both") | {"platformPublicKey": stranger}
    found = doctor.examine(config)
    assert found[Code.ANSWER_NOT_TRUSTED] == {"reason": "bad_signature"}


def test_an_unknown_app_id(doctor: Doctor) -> None:
    config = doctor.config("alipay.page", "public_key") | {"appId": "2021009999999999"}
    found = doctor.examine(config)
    assert found[Code.APP_ID_UNKNOWN] == {"value": "2021009999999999"}


def test_numbers_that_do_not_look_right(doctor: Doctor) -> None:
    config = doctor.config("alipay.page", "public_key")
    found = doctor.examine(config | {"appId": "20210099", "sellerId": "1088009000000001"})
    assert found[Code.APP_ID_FORM] == {"value": "20210099"}
    assert found[Code.MERCHANT_ID_FORM] == {"value": "1088009000000001"}
    config = doctor.config("wxpay.native", "platform_cert")
    found = doctor.examine(config | {"appId": "gh_0123456789", "mchId": "12"})
    assert {Code.APP_ID_FORM, Code.MERCHANT_ID_FORM, Code.SIGNATURE_REFUSED} <= set(found)


def test_keys_in_the_wrong_place(doctor: Doctor) -> None:
    config = doctor.config("alipay.page", "public_key")
    own = rsa_keys.public_pem(config["privateKey"])
    assert doctor.violations(config | {"alipayPublicKey": own}) == {"alipayPublicKey": OWN_KEY}
    swapped = config | {"privateKey": config["alipayPublicKey"], "alipayPublicKey": own}
    assert set(doctor.violations(swapped)) == {"privateKey"}
    config = doctor.config("wxpay.native", "both")
    own = rsa_keys.public_pem(config["privateKey"])
    assert doctor.violations(config | {"platformPublicKey": own}) == {"platformPublicKey": OWN_KEY}


def test_half_a_group_is_refused(doctor: Doctor) -> None:
    config = doctor.config("alipay.page", "cert")
    del config["appCert"]
    assert doctor.violations(config) == {"appCert": "required beside the other fields of its group"}
    config = doctor.config("wxpay.native", "public_key")
    del config["platformPublicKeyId"]
    assert set(doctor.violations(config)) == {"platformPublicKeyId"}


def test_certificates_near_and_past_their_end(doctor: Doctor) -> None:
    for channel, field in (("alipay.page", "appCert"), ("wxpay.native", "platformCertificates")):
        mode = "cert" if channel == "alipay.page" else "platform_cert"
        config = doctor.config(channel, mode)
        given = config[field]
        text = given if isinstance(given, str) else given[-1]
        end = x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc
        soon = doctor.examine(config, at=end - timedelta(days=20))
        assert soon[Code.CERTIFICATE_ENDS_SOON]["until"] == f"{end:%Y-%m-%d}"
        past = doctor.examine(config, at=end + timedelta(days=1))
        assert Code.CERTIFICATE_EXPIRED in past


def test_another_apps_certificate_is_refused_by_the_gateway(
    doctor: Doctor, sandbox: SandboxServer
) -> None:
    config = doctor.config("alipay.page", "cert")
    other = sandbox.control(
        "accounts",
        provider="alipay",
        mode="cert",
        appPrivateKey=config["privateKey"],
    )["config"]
    found = doctor.examine(config | {"appCert": other["appCert"]})
    assert found[Code.CERTIFICATE_REFUSED]["providerCode"] == "isv.app-cert-not-exist"


def test_an_app_in_certificate_mode_with_a_public_key_only(doctor: Doctor) -> None:
    config = doctor.config("alipay.page", "cert")
    for name in ("appCert", "alipayCert", "alipayRootCert"):
        del config[name]
    assert Code.CERTIFICATE_REFUSED in doctor.examine(config)


def test_a_wrong_api_v3_key(doctor: Doctor) -> None:
    config = doctor.config("wxpay.native", "platform_cert") | {"apiV3Key": "0" * 32}
    found = doctor.examine(config)
    assert Code.API_V3_KEY_WRONG in found
    assert Code.PROVIDER_ACCEPTS in found


def test_a_wrong_clock(doctor: Doctor) -> None:
    config = doctor.config("wxpay.native", "platform_cert")
    found = doctor.examine(config, at=datetime.now(UTC) + timedelta(minutes=10))
    assert abs(int(found[Code.CLOCK_WRONG]["seconds"]) - 600) <= 2
    assert Code.SIGNATURE_REFUSED in found
    found = doctor.examine(config, at=datetime.now(UTC) - timedelta(seconds=100))
    assert abs(int(found[Code.CLOCK_DRIFTS]["seconds"]) + 100) <= 2
    assert Code.PROVIDER_ACCEPTS in found


@pytest.mark.parametrize(
    ("channel", "mode", "field"),
    [("alipay.page", "public_key", "gatewayUrl"), ("wxpay.native", "both", "apiBaseUrl")],
)
def test_an_address_that_does_not_answer(
    doctor: Doctor, channel: str, mode: str, field: str
) -> None:
    config = doctor.config(channel, mode)
    found = doctor.examine(config | {field: "http://127.0.0.1:1"})
    assert "connect" in found[Code.PROVIDER_UNREACHABLE]["message"]
    with canned_server() as broken:
        broken.answers = [CannedAnswer(503, {}, b"")] * 2
        found = doctor.examine(config | {field: broken.url})
        assert found[Code.PROVIDER_UNREACHABLE] == {"message": "HTTP 503"}
    with canned_server() as stranger:
        stranger.answers = [CannedAnswer(200, {}, b"<html>hello</html>")] * 2
        found = doctor.examine(config | {field: stranger.url})
        assert {Code.ANSWER_NOT_TRUSTED, Code.PROVIDER_UNCLEAR} & set(found)


def test_every_code_has_its_severity() -> None:
    assert worst([]) is Severity.OK
    bad = {Code.CONFIG_INVALID, Code.SIGNATURE_REFUSED, Code.CLOCK_WRONG, Code.CERTIFICATE_EXPIRED}
    assert {Finding(code).severity for code in bad} == {Severity.ERROR}
    assert worst([Finding(Code.CLOCK_RIGHT), Finding(Code.CLOCK_DRIFTS)]) is Severity.WARNING
    assert worst([Finding(Code.CLOCK_WRONG), Finding(Code.CLOCK_DRIFTS)]) is Severity.ERROR
