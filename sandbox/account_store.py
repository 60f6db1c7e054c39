"""Where the accounts live: one file of test keys in the sandbox's directory."""

import json
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from sandbox.account_factory import default_accounts, rotate_alipay, rotate_wechat
from sandbox.accounts import (
    Account,
    AccountError,
    AlipayAccount,
    PlatformCertificate,
    WechatAccount,
)

KEY_FILE = "TEST-KEYS-ONLY.json"
_WARNING = "TEST KEYS made by the NovaPay sandbox. They protect nothing; never use them elsewhere."

AnAccount = TypeVar("AnAccount", AlipayAccount, WechatAccount)


@dataclass
class Accounts:
    """All accounts of this sandbox, kept in one file of its directory."""

    directory: Path
    alipay: dict[str, AlipayAccount] = field(default_factory=dict)
    wxpay: dict[str, WechatAccount] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def load_or_create(self) -> None:
        """Reads the key file, or makes the default test accounts at the first start."""
        path = self.directory / KEY_FILE
        if path.exists():
            stored = json.loads(path.read_text())
            for item in stored["alipay"]:
                self.alipay[item["app_id"]] = AlipayAccount(**item)
            for item in stored["wxpay"]:
                certificates = tuple(
                    PlatformCertificate(**c) for c in item.pop("platform_certificates")
                )
                account = WechatAccount(**item, platform_certificates=certificates)
                self.wxpay[account.mch_id] = account
            return
        for new in default_accounts():
            self._put(new)
        self._save()

    def every(self) -> list[Account]:
        """All accounts, Alipay first, in the order of registration."""
        return [*self.alipay.values(), *self.wxpay.values()]

    def put(self, account: Account) -> None:
        """Adds or replaces an account and saves the key file."""
        with self._lock:
            self._put(account)
            self._save()

    def rotate(self, provider: str, account_id: str, step: str) -> Account:
        """Renews the provider's certificate of an account; AccountError for a wrong request.

        WeChat Pay: `add` a certificate beside the old, `switch` to sign with the newest, `drop`
        the oldest, `renew` = add and switch. Alipay (certificate mode): `renew` issues a new
        certificate for the same key, `rekey` for a new key.
        """
        with self._lock:
            account: Account
            if provider == "alipay":
                account = rotate_alipay(_known(self.alipay, account_id), step)
            else:
                account = rotate_wechat(_known(self.wxpay, account_id), step)
            self.put(account)
            return account

    def set_grey_percent(self, mch_id: str, percent: int) -> WechatAccount:
        """Share of notifications signed with the public key while certificates still live."""
        with self._lock:
            account = _known(self.wxpay, mch_id)
            if account.mode != "both":
                raise AccountError("the account needs certificates and a public key")
            account = replace(account, grey_percent=percent)
            self.put(account)
            return account

    def _put(self, account: Account) -> None:
        if isinstance(account, AlipayAccount):
            self.alipay[account.app_id] = account
        else:
            self.wxpay[account.mch_id] = account

    def _save(self) -> None:
        path = self.directory / KEY_FILE
        content = {
            "warning": _WARNING,
            "alipay": [asdict(a) for a in self.alipay.values()],
            "wxpay": [asdict(a) for a in self.wxpay.values()],
        }
        temporary = path.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False))
        temporary.replace(path)


def _known(accounts: dict[str, AnAccount], account_id: str) -> AnAccount:
    try:
        return accounts[account_id]
    except KeyError:
        raise AccountError(f"no account {account_id!r}") from None
