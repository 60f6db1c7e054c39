"""The database that the schedules of one file share."""

from collections.abc import Iterator

import pytest

from tests.simulation.world import Ground, ground


@pytest.fixture(scope="module")
def simulated(module_database_url: str) -> Iterator[Ground]:
    """Two merchants, and a clock that can be put forward."""
    with ground(module_database_url) as made:
        yield made
