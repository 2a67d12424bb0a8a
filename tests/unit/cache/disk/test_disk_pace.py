"""The writer steps back exactly when readers wait and the processors are busy."""

from mountd.cache.disk.pace import LONGEST_REST_S, REST, Pace, ProcessorTime, read_processor_time


def paced(*samples):
    times = iter(samples)
    return Pace(lambda: next(times))


def test_busy_processors_and_waiting_readers_make_it_rest():
    pace = paced(ProcessorTime(0, 0), ProcessorTime(1, 100), ProcessorTime(2, 200))
    assert pace.rest_s(0.01, readers_wait=True) == REST * 0.01
    assert pace.rest_s(10, readers_wait=True) == LONGEST_REST_S


def test_idle_processors_or_no_readers_do_not():
    pace = paced(ProcessorTime(0, 0), ProcessorTime(50, 100), ProcessorTime(50, 200))
    assert pace.rest_s(0.01, readers_wait=True) == 0
    assert pace.rest_s(0.01, readers_wait=False) == 0


def test_short_samples_are_not_judged():
    pace = paced(ProcessorTime(0, 0), ProcessorTime(0, 5), ProcessorTime(0, 100))
    assert pace.rest_s(0.01, readers_wait=True) == 0
    assert pace.rest_s(0.01, readers_wait=True) > 0


def test_without_numbers_it_never_rests(tmp_path):
    assert Pace(lambda: None).rest_s(1, readers_wait=True) == 0
    assert read_processor_time(tmp_path / "missing") is None
    (tmp_path / "stat").write_text("cpu 1 2\n")
    assert read_processor_time(tmp_path / "stat") is None


def test_the_real_numbers_are_read():
    found = read_processor_time()
    assert found is not None
    assert 0 <= found.idle <= found.total
