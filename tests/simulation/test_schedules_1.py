"""Random schedules, part 1 of 2: two files, so that two processes share them."""

import pytest

from tests.simulation.chunk import chunks, run_chunk
from tests.simulation.world import Ground

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("seeds", chunks(0, 2), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_v01_to_v26_hold_in_random_schedules_with_random_faults(
    simulated: Ground, seeds: range
) -> None:
    run_chunk(seeds, simulated)
