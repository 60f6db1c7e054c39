"""The browser of the tests: the machine's, else Playwright's, else one from a package.

`python -m tests.browser.chromium` makes sure that there is one. Nothing here needs root, and nothing is
skipped when there is none: the tests fail and say so.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import playwright
from playwright.sync_api import sync_playwright

from tests.browser.npm_package import NpmPackage, PackageNotToBeHad, extract

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

PACKAGED = NpmPackage(
    "@sparticuz/chromium",
    "153.0.0",
    "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==",
    megabytes=70,
)
"""A headless Chromium for x86-64 Linux, with the libraries that small machines lack. MIT."""

FONTS = NpmPackage(
    "@expo-google-fonts/noto-sans-sc",
    "0.4.3",
    "9rAwdFTFHbO/u6Cs0gj2jZbW74TGIiaFNQnXYH2s5wA1bzVkwbaviL4t8YUV642eGYjg86eH6DkAEQmfNHDncQ==",
    megabytes=57,
)
"""Noto Sans SC, so that Chinese text is text and every machine draws the same. OFL-1.1."""

ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--font-render-hinting=none",
    "--no-first-run",
    "--no-pings",
)
"""Silent on the network, and the same pixels everywhere."""


@dataclass(frozen=True)
class Chromium:
    """A browser program and what its process needs in its environment."""

    path: Path
    environment: dict[str, str]


def find_chromium() -> Chromium:
    """The browser, fetched if need be. Raises PackageNotToBeHad."""
    environment = {"FONTCONFIG_FILE": str(FONTS.folder(_unpack_fonts) / "fonts.conf")}
    found = next(filter(None, map(shutil.which, NAMES)), None) or _of_playwright()
    if found:
        return Chromium(Path(found), environment)
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise PackageNotToBeHad("the browser tests need a browser: install chromium")
    folder = PACKAGED.folder(_unpack_chromium)
    environment["LD_LIBRARY_PATH"] = str(folder / "lib")
    return Chromium(folder / "chromium", environment)


def _of_playwright() -> str | None:
    with sync_playwright() as driver:
        path = driver.chromium.executable_path
    return path if Path(path).exists() else None


def _unpack_chromium(package: Path, folder: Path) -> None:
    _inflate(package / "bin/chromium.br", folder / "chromium")
    (folder / "chromium").chmod(0o755)
    libraries = folder / "al2023.tar"
    _inflate(package / "bin/al2023.tar.br", libraries)
    with tarfile.open(libraries) as content:
        extract(content, folder)
    libraries.unlink()
    shutil.copy(package / "LICENSE", folder)


def _inflate(source: Path, target: Path) -> None:
    """Brotli, which Python's library lacks and the Node that comes with Playwright has."""
    node = Path(playwright.__file__).parent / "driver" / "node"
    program = (
        "const fs = require('fs'), zlib = require('zlib');"
        "const [source, target] = process.argv.slice(1);"
        "require('stream').pipeline(fs.createReadStream(source), zlib.createBrotliDecompress(),"
        " fs.createWriteStream(target), error => { if (error) throw error; });"
    )
    subprocess.run([node, "-e", program, source, target], check=True, timeout=300)


def _unpack_fonts(package: Path, folder: Path) -> None:
    for name in ("400Regular", "700Bold"):
        shutil.copy(package / name / f"NotoSansSC_{name}.ttf", folder)
    shutil.copy(package / "LICENSE_FONT", folder)
    (folder / "fonts.conf").write_text(_FONTS_CONF)


_FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
  <dir prefix="relative">.</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
  <match target="pattern">
    <test name="family" compare="eq" qual="any"><string>sans-serif</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Noto Sans SC</string></edit>
  </match>
  <match target="pattern">
    <test name="family" compare="eq" qual="any"><string>system-ui</string></test>
    <edit name="family" mode="prepend" binding="strong"><string>Noto Sans SC</string></edit>
  </match>
</fontconfig>
"""


if __name__ == "__main__":
    try:
        find_chromium()
    except PackageNotToBeHad as problem:
        raise SystemExit(f"novapay: {problem}") from None
