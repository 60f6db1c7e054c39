"""Files out of npm packages whose version and checksum are pinned here, kept beside the environment.

No `package.json` and no install step: npm only brings the archive, and nothing of it runs.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KEPT_IN = Path(sys.prefix) / "browser"
"""In the virtual environment: made anew with it, and never committed."""


class PackageNotToBeHad(Exception):
    """The package could not be fetched, or is not the one that was pinned; the text says what to do."""


@dataclass(frozen=True)
class NpmPackage:
    """A pinned package. `integrity` is the base64 of the archive's SHA-512, as npm writes it."""

    name: str
    version: str
    integrity: str
    megabytes: int

    def folder(self, unpack: Callable[[Path, Path], None]) -> Path:
        """The folder that `unpack(package, folder)` filled, this time or an earlier one.

        Raises PackageNotToBeHad.
        """
        folder = KEPT_IN / f"{self.name.replace('/', '-').lstrip('@')}-{self.version}"
        if folder.exists():
            return folder
        KEPT_IN.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT_IN, prefix="unpacking-") as name:
            temporary = Path(name)
            archive = self._fetch(temporary)
            with tarfile.open(archive) as content:
                extract(content, temporary)
            filled = temporary / "filled"
            filled.mkdir()
            unpack(temporary / "package", filled)
            try:
                filled.rename(folder)  # complete or not at all
            except OSError:
                if not folder.exists():  # another process was faster
                    raise
        return folder

    def _fetch(self, into: Path) -> Path:
        _say(f"fetching {self.name} {self.version}, {self.megabytes} MB (this once)")
        npm = shutil.which("npm")
        if npm is None:
            raise PackageNotToBeHad(f"npm is needed to fetch {self.name}; or install chromium")
        done = subprocess.run(
            [npm, "pack", "--silent", "--pack-destination", into, f"{self.name}@{self.version}"],
            cwd=into, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise PackageNotToBeHad(
                f"npm could not fetch {self.name} {self.version}: {done.stderr}"
            )
        archive = next(into.glob("*.tgz"))
        self.refuse_another(archive)
        return archive

    def refuse_another(self, archive: Path) -> None:
        """Raise PackageNotToBeHad unless this is the archive that was pinned."""
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != self.integrity:
            raise PackageNotToBeHad(f"{self.name} {self.version} is not the pinned archive")


def _say(text: str) -> None:
    # Not the captured stream: whoever started the tests waits for this.
    (sys.__stderr__ or sys.stderr).write(f"novapay: {text}\n")


def extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Everything in it; Python before 3.11.4 has no filters, and what is in a pinned archive is known."""
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, filter="data")
    else:
        archive.extractall(folder)  # noqa: S202 (its SHA-512 is pinned)
