from core_service.domain.rate_limit import BURST_SECONDS, MAX_CALLERS, RateLimit


def test_o04_a_caller_over_its_rate_waits_and_the_others_do_not() -> None:
    limit = RateLimit(10.0)
    burst = int(10 * BURST_SECONDS)
    assert [limit.seconds_to_wait("greedy", 0.0) for _ in range(burst)] == [0.0] * burst
    assert limit.seconds_to_wait("greedy", 0.0) == 0.1
    assert limit.seconds_to_wait("other", 0.0) == 0.0


def test_tokens_come_back_with_time_and_being_refused_costs_none() -> None:
    limit = RateLimit(1.0)
    for _ in range(int(BURST_SECONDS)):
        assert limit.seconds_to_wait("a", 0.0) == 0.0
    for _ in range(100):
        assert limit.seconds_to_wait("a", 0.5) == 0.5
    assert limit.seconds_to_wait("a", 1.0) == 0.0
    assert limit.seconds_to_wait("a", 1.0) == 1.0
    assert [limit.seconds_to_wait("a", 1000.0) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_the_number_of_callers_is_bounded() -> None:
    limit = RateLimit(1.0)
    for number in range(MAX_CALLERS + 1):
        limit.seconds_to_wait(str(number), 0.0)
    assert len(limit._buckets) == MAX_CALLERS
    assert "0" not in limit._buckets
