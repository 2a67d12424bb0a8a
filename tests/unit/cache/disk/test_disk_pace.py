"""The writer steps back exactly when readers wait and the processors are busy."""

import pytest

from mountd.cache.disk.pace import (
    FIRST_S,
    LEISURELY,
    LONGEST_REST_S,
    REST,
    SAMPLE_S,
    SETTLED_S,
    STALE_S,
    Pace,
)
from mountd.cache.disk.processors import Load, Used


class Machine:
    """Processor time and a clock that a test moves on."""

    def __init__(self):
        self.idle, self.total, self.now, self.own = 0, 0, 100.0, 7.0
        self.reads = 0
        self.groups = ()

    def read(self):
        self.reads += 1
        return Load(self.idle, self.total, 2, self.groups)

    def pass_by(self, seconds, idle, own=0.0):
        self.now += seconds
        self.total += 100
        self.idle += idle
        self.own += own


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def pace(machine):
    return Pace(machine.read, lambda: machine.now, lambda: machine.own)


def test_busy_processors_and_waiting_readers_make_it_rest(machine, pace):
    machine.pass_by(2 * SAMPLE_S, idle=1)
    assert pace.rest_s(0.01, readers_wait=True) == REST * 0.01
    assert pace.rest_s(10, readers_wait=True) == LONGEST_REST_S


def test_idle_processors_or_no_readers_do_not(machine, pace):
    machine.pass_by(2 * SAMPLE_S, idle=1)
    assert pace.rest_s(0.01, readers_wait=False) == 0
    machine.pass_by(2 * SAMPLE_S, idle=90)
    assert pace.has_spare()
    assert pace.rest_s(0.01, readers_wait=True) == 0


def test_what_was_long_ago_says_nothing_of_this_moment(machine, pace):
    machine.pass_by(STALE_S * 2, idle=100)
    assert not pace.has_spare()
    machine.pass_by(2 * SAMPLE_S, idle=100)
    assert pace.has_spare()


def test_of_a_burst_the_first_second_is_the_readers_alone(machine, pace):
    assert not pace.stands_back(readers_wait=True)
    pace.burst_begins()
    assert pace.stands_back(readers_wait=True)
    assert not pace.stands_back(readers_wait=False)
    machine.pass_by(FIRST_S * 0.9, idle=1)
    assert pace.stands_back(readers_wait=True)
    machine.pass_by(FIRST_S * 0.1, idle=1)
    assert not pace.stands_back(readers_wait=True)


def test_how_idle_processors_were_before_a_burst_is_forgotten_and_looked_at_anew(machine, pace):
    machine.pass_by(2 * SAMPLE_S, idle=100)
    assert pace.has_spare()
    machine.pass_by(SAMPLE_S, idle=100)
    pace.burst_begins()
    assert pace.stands_back(readers_wait=True)
    machine.pass_by(1.5 * SAMPLE_S, idle=100)
    assert not pace.stands_back(readers_wait=True)


def test_idle_processors_at_the_beginning_of_a_burst_that_this_process_works_for_are_not_spare(machine, pace):
    pace.burst_begins()
    assert not pace.has_spare()
    machine.pass_by(1.5 * SAMPLE_S, idle=60, own=1.5 * SAMPLE_S * LEISURELY * 1.1)
    assert not pace.has_spare()
    machine.pass_by(SETTLED_S, idle=60, own=SETTLED_S)
    assert pace.has_spare()


def test_what_it_used_before_does_not_count(machine, pace):
    machine.own += 100
    pace.burst_begins()
    assert not pace.has_spare()
    for spare in (False, True):
        machine.pass_by(1.2 * SAMPLE_S, idle=60, own=0.0 if spare else SAMPLE_S)
        assert pace.has_spare() is spare


def test_of_less_than_one_processor_the_same_part_is_enough(machine, pace):
    machine.groups = (Used(allowed=0.5, used_s=5.0),)
    machine.pass_by(2 * SAMPLE_S, idle=90)
    pace.has_spare()
    for used, spare in ((0.1, True), (0.2, False)):
        machine.groups = (Used(0.5, machine.groups[0].used_s + used * 2 * SAMPLE_S),)
        machine.pass_by(2 * SAMPLE_S, idle=90)
        assert pace.has_spare() is spare


def test_numbers_that_could_not_be_read_once_are_read_again(machine):
    hidden = []
    pace = Pace(lambda: None if hidden else machine.read(), lambda: machine.now, lambda: machine.own)
    hidden.append(True)
    machine.pass_by(2 * SAMPLE_S, idle=0)
    assert pace.has_spare()
    hidden.clear()
    for _ in range(2):
        machine.pass_by(2 * SAMPLE_S, idle=0)
        assert not pace.has_spare()
    machine.pass_by(2 * SAMPLE_S, idle=90)
    assert pace.has_spare()


def test_they_are_where_it_hardly_works_itself(machine, pace):
    pace.burst_begins()
    assert not pace.has_spare()
    machine.pass_by(1.5 * SAMPLE_S, idle=60, own=1.5 * SAMPLE_S * LEISURELY * 0.9)
    assert pace.has_spare()


def test_it_looks_no_more_often_than_it_can_tell_something(machine, pace):
    machine.pass_by(2 * SAMPLE_S, idle=50)
    assert pace.has_spare()
    before = machine.reads
    machine.pass_by(SAMPLE_S / 2, idle=0)
    assert pace.has_spare()
    assert machine.reads == before


def test_without_numbers_it_never_rests():
    pace = Pace(lambda: None)
    pace.burst_begins()
    assert not pace.stands_back(readers_wait=True)
    assert pace.rest_s(1, readers_wait=True) == 0


def test_what_its_control_group_may_not_use_is_not_spare(machine, pace):
    machine.groups = (Used(allowed=1.0, used_s=5.0),)
    machine.pass_by(2 * SAMPLE_S, idle=90)
    assert not pace.has_spare(), "the group was not known before"
    for used, spare in ((0.2, True), (0.4, False)):
        machine.groups = (Used(1.0, machine.groups[0].used_s + used * 2 * SAMPLE_S),)
        machine.pass_by(2 * SAMPLE_S, idle=90)
        assert pace.has_spare() is spare
