"""Sizes and durations as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.units import GIB, KIB, MIB, ByteRange, format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("64k", 64 * KIB),
        ("64K", 64 * KIB),
        ("64kB", 64 * KIB),
        ("64KiB", 64 * KIB),
        (" 10 GB ", 10 * GIB),
        ("1.5 GiB", 3 * GIB // 2),
        ("0.5m", MIB // 2),
        ("2T", 2048 * GIB),
        ("1p", GIB * MIB),
    ],
)
def test_sizes(text, count):
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text",
    ["", " ", "k", "-1", "1e3", "1,5G", "10 XB", "ten", "1.", ".5", "1 2", "0x10", "10GB/s", "1k1", "nan", "inf"],
)
def test_what_is_not_a_size(text):
    with pytest.raises(ValueError, match="is not a size; write for example 512MiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["99999999999TB", "9" * 400, "9" * 400 + "P"])
def test_what_is_more_than_any_disk_has(text):
    with pytest.raises(ValueError, match="is not a size: more than 4611686018427387904 bytes"):
        parse_size(text)


@given(st.integers(0, 1 << 53), st.sampled_from(["", "b", "B"]))
def test_a_number_of_bytes_is_exact(count, suffix):
    assert parse_size(f"{count}{suffix}") == count


@given(st.integers(0, 4000), st.sampled_from("kmgtp"), st.sampled_from(["", "b", "ib", "B", "iB"]))
def test_suffixes_count_in_1024_with_and_without_an_i(count, power, suffix):
    assert (
        parse_size(f"{count}{power}{suffix}")
        == parse_size(f"{count}{power.upper()}")
        == (count * 1024 ** (" kmgtp".index(power)))
    )


@given(st.text(max_size=8))
def test_any_text_is_a_size_or_refused(text):
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert "is not a size" in str(error)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (MIB - 1, "1.0 MiB"),
        (17 * KIB + 512, "17.5 KiB"),
        (int(1.25 * GIB), "1.2 GiB"),
        (5000 * 1024 * GIB, "5000.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes_for_people(count, text):
    assert format_size(count) == text


@given(st.integers(0, 1 << 50))
def test_a_size_for_people_is_within_a_twentieth_of_what_it_stands_for(count):
    assert parse_size(format_size(count)) == pytest.approx(count, rel=0.05)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("500ms", 0.5), ("5m", 300), ("1h", 3600), ("1.5 H", 5400), ("2d", 172_800), ("0", 0)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 min", "1h30m", "forever", "1us", "1e3"])
def test_what_is_not_a_duration(text):
    with pytest.raises(ValueError, match="is not a duration; write for example 30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.42, "0.4 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (12.4, "12 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_for_people(seconds, text):
    assert format_duration(seconds) == text


def test_a_range():
    assert ByteRange(3, 10).length == 7
    assert ByteRange(3, 3).length == 0
