from hypothesis import given
from hypothesis import strategies as st

from mountd.daemon.restart_policy import RestartHistory, RestartRule

RULE = RestartRule(limit=3, window_s=60, first_pause_s=0.1, longest_pause_s=5)


def test_pauses_grow_and_the_last_death_within_the_window_is_the_last():
    history = RestartHistory(RULE)
    assert [history.after_death(now) for now in (0, 1, 2, 3)] == [0.1, 0.2, 0.4, None]


def test_deaths_far_apart_never_add_up():
    history = RestartHistory(RULE)
    assert [history.after_death(61.0 * number) for number in range(20)] == [0.1] * 20


def test_a_death_leaves_the_window_exactly_when_it_is_over():
    history = RestartHistory(RULE)
    for now in (0.0, 1.0, 2.0):
        history.after_death(now)
    assert RestartHistory(RULE, history._deaths.copy()).after_death(59.9) is None
    assert history.after_death(60.0) == 0.4


def test_a_store_that_is_away_is_tried_for_ever_at_growing_pauses():
    history = RestartHistory(RULE)
    history.after_death(0)
    pauses = [history.after_failed_start() for _ in range(200)]
    assert pauses[:6] == [0.2, 0.4, 0.8, 1.6, 3.2, 5]
    assert set(pauses[6:]) == {5}


def test_a_start_forgets_failed_starts_but_not_deaths():
    history = RestartHistory(RULE)
    history.after_death(0)
    history.after_failed_start()
    history.after_start()
    assert history.after_failed_start() == 0.2
    assert history.after_death(1) == 0.2


@given(st.lists(st.floats(0, 30), max_size=60))
def test_no_window_ever_holds_more_restarts_than_allowed(gaps):
    history = RestartHistory(RULE)
    now, restarts = 0.0, []
    for gap in gaps:
        now += gap
        if history.after_death(now) is None:
            break
        restarts.append(now)
    for start in restarts:
        assert len([at for at in restarts if start <= at < start + RULE.window_s]) <= RULE.limit
