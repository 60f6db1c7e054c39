"""Moves stored secrets to the master key that writes now, while everything runs.

Only the data keys are sealed anew, a batch a transaction, each value guarded by what it was when it was read. Stopped
at any point, the next run goes on with what is left.
"""

from collections.abc import Callable

from core_service.failpoints import failpoint
from core_service.storage import sealed_values
from core_service.storage.database import connection_scope, transact
from core_service.storage.sealed_places import SEALED_COLUMNS
from core_service.storage.sealed_values import SealedValue
from core_service.storage.secret_box import SecretBox

BATCH_VALUES = 200


def is_complete(box: SecretBox) -> bool:
    """Whether the writing key alone has sealed every stored secret."""
    with connection_scope():
        return not any(
            sealed_values.sealed_by_others(column, box.writing_key_id, 1)
            for column in SEALED_COLUMNS
        )


def rewrap_all(box: SecretBox, tell: Callable[[str, int], None]) -> int:
    """Seal every data key with the writing key; how many values that were.

    `tell` gets the table and how many of its values were moved so far. Raises SecretUnreadable for a value that no
    key of the ring opens; what was moved before it stays moved.
    """
    total = 0
    with connection_scope():
        for column in SEALED_COLUMNS:
            moved = 0
            while batch := sealed_values.sealed_by_others(column, box.writing_key_id, BATCH_VALUES):
                moved += _rewrap(box, batch)
                failpoint("rotate")
                tell(column.table, moved)
            total += moved
    return total


def _rewrap(box: SecretBox, batch: list[SealedValue]) -> int:
    fresh = [(value, box.rewrap(value.sealed, value.place)) for value in batch]
    return transact(lambda: sum(sealed_values.replace(value, sealed) for value, sealed in fresh))
