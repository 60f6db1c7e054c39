"""What to do about the doctor's findings on provider accounts, for the command line."""

from collections.abc import Mapping

from core_service.domain.account_check import Code

REMEDIES: Mapping[Code, str] = {
    Code.CONFIG_INVALID: "replace the account's configuration or disable the account",
    Code.OWN_KEY_GIVEN: "enter the provider's public key instead of the merchant's own",
    Code.APP_ID_FORM: "compare the app id with the provider's console",
    Code.MERCHANT_ID_FORM: "compare the merchant's number with the provider's console",
    Code.CERTIFICATE_ENDS_SOON: "get the new certificate from the provider's console",
    Code.CERTIFICATE_EXPIRED: "get the new certificate from the provider's console",
    Code.CERTIFICATE_NOT_YET_VALID: "check this machine's date, or wait until it begins",
    Code.PROVIDER_UNREACHABLE: "check DNS and the way out to the provider's address",
    Code.PROVIDER_UNCLEAR: "look the code up in the provider's documentation",
    Code.APP_ID_UNKNOWN: "correct the app id, or the gateway address (sandbox or production)",
    Code.MERCHANT_UNKNOWN: "correct the merchant's number and bind the app id to it",
    Code.PRODUCT_NOT_OPEN: "have the product opened for the app at the provider",
    Code.SIGNATURE_REFUSED: "enter the private key whose public half is registered there",
    Code.CERTIFICATE_REFUSED: "enter the certificates of this very app",
    Code.ANSWER_NOT_TRUSTED: "enter the provider's current public key or certificates",
    Code.API_V3_KEY_WRONG: "enter the APIv3 key that is set at the merchant platform",
    Code.CLOCK_DRIFTS: "synchronise this machine's clock (chrony, systemd-timesyncd)",
    Code.CLOCK_WRONG: "synchronise this machine's clock (chrony, systemd-timesyncd)",
    Code.CALLBACK_UNREACHABLE: "check that NOVAPAY_PUBLIC_BASE_URL leads to the edge",
    Code.CALLBACK_LOCAL: "set NOVAPAY_PUBLIC_BASE_URL to an address that providers can reach",
    Code.CALLBACK_INSECURE: "set NOVAPAY_PUBLIC_BASE_URL to an https address",
    Code.ACCOUNT_DISABLED: "enable the account when it should take payments",
    Code.CHANNEL_DISABLED: "enable the merchant's binding of the channel",
}
