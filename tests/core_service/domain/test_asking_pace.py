from core_service.domain.asking_pace import (
    BURST_SECONDS,
    FIRST_REST_SECONDS,
    LONGEST_REST_SECONDS,
    AskingPace,
)


def test_an_account_rests_when_its_rate_is_used_up_and_the_others_go_on() -> None:
    pace = AskingPace(10.0)
    for _ in range(int(10 * BURST_SECONDS)):
        assert pace.resting(0.0) == []
        pace.spend("busy", 0.0)
    pace.spend("other", 0.0)
    assert pace.resting(0.0) == ["busy"]
    assert pace.resting(0.11) == []


def test_in_the_long_run_the_rate_holds_however_many_calls_one_order_takes() -> None:
    pace = AskingPace(10.0)
    calls, seconds = 0, 100
    for hundredth in range(100 * seconds):
        if not pace.resting(hundredth / 100):
            for _ in range(3):  # asked, closed, asked again
                pace.spend("busy", hundredth / 100)
                calls += 1
    assert 10 * seconds <= calls <= 10 * (seconds + BURST_SECONDS) + 3


def test_a_rate_below_the_burst_still_lets_one_call_through() -> None:
    pace = AskingPace(0.1)
    assert pace.resting(0.0) == []
    pace.spend("a", 0.0)
    assert pace.resting(9.0) == ["a"]
    assert pace.resting(10.0) == []


def test_so_many_at_once_and_no_more() -> None:
    pace = AskingPace(at_once=2)
    with pace.asking("a"):
        assert pace.resting(0.0) == []
        with pace.asking("a"):
            assert pace.resting(0.0) == ["a"]
        assert pace.resting(0.0) == []


def test_rests_double_until_there_was_none_for_a_while() -> None:
    pace, now, rests = AskingPace(), 0.0, []
    for _ in range(5):
        pace.rest("a", now)
        rests.append(pace.seconds_of_rest("a", now))
        now += rests[-1]
    assert rests == [5.0, 10.0, 20.0, 40.0, 40.0]
    assert rests[-1] == LONGEST_REST_SECONDS
    now += LONGEST_REST_SECONDS
    pace.rest("a", now)
    assert pace.seconds_of_rest("a", now) == FIRST_REST_SECONDS
    assert pace.resting(now + 4.9) == ["a"]
    assert pace.resting(now + 5.1) == []


def test_the_answers_to_calls_under_way_do_not_make_a_rest_longer() -> None:
    pace = AskingPace()
    for now in (0.0, 1.0, 2.0):
        pace.rest("a", now)
    assert pace.seconds_of_rest("a", 2.0) == 3.0
    assert pace.seconds_of_rest("b", 2.0) == 0.0


def test_nothing_is_kept_of_accounts_that_nobody_asks_for() -> None:
    pace = AskingPace(10.0)
    for number in range(1000):
        pace.spend(str(number), 0.0)
        pace.rest(str(number), 0.0)
        with pace.asking(str(number)):
            pass
    assert pace.resting(1000.0) == []
    assert not pace._used_until
    assert not pace._rests
    assert not pace._asking
