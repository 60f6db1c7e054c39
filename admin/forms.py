"""What a browser sent in a form: `application/x-www-form-urlencoded`, or multipart where there is a file."""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import falcon
from falcon.media import MultipartFormHandler

from core_service.errors import CoreError, FieldViolation, invalid_request

MAX_FIELDS = 500


@dataclass(frozen=True)
class Upload:
    """One file."""

    filename: str
    content_type: str
    content: bytes


class Form(Mapping[str, str]):
    """Fields by name; the last value of a field that came several times, all of them by `values_of`."""

    def __init__(
        self, fields: list[tuple[str, str]] | None = None, uploads: dict[str, Upload] | None = None
    ) -> None:
        self._values: dict[str, list[str]] = defaultdict(list)
        for name, value in fields or ():
            self._values[name].append(value)
        self.uploads: dict[str, Upload] = uploads or {}

    def __getitem__(self, name: str) -> str:
        if name not in self._values:
            raise KeyError(name)
        return self._values[name][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def values_of(self, name: str) -> list[str]:
        """Every value of a field, in order."""
        return list(self._values.get(name, ()))

    def trimmed(self, name: str) -> str:
        """The value without white space around it; empty when it did not come."""
        return self.get(name, "").strip()


def read_form(content_type: str | None, body: bytes) -> Form:
    """The form in a request body. Raises INVALID_REQUEST."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            return Form(
                parse_qsl(
                    body.decode("utf-8"),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=MAX_FIELDS,
                )
            )
        if kind == "multipart/form-data":
            return _multipart(content_type or "", body)
    except (ValueError, falcon.HTTPError):
        raise invalid_request(FieldViolation("body", "is not a form that can be read")) from None
    if not body:
        return Form()
    raise invalid_request(FieldViolation("content-type", "must be that of a form"))


def _multipart(content_type: str, body: bytes) -> Form:
    fields: list[tuple[str, str]] = []
    uploads: dict[str, Upload] = {}
    for part in MultipartFormHandler().deserialize(io.BytesIO(body), content_type, len(body)):
        if len(fields) >= MAX_FIELDS or part.name is None:
            raise CoreError("INVALID_REQUEST")
        if part.filename is None:
            fields.append((part.name, part.get_text() or ""))
        else:
            uploads[part.name] = Upload(part.filename, part.content_type, part.get_data())
    return Form(fields, uploads)
