"""Times: every form that a client sends, to the nanosecond, and nothing else."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid
from profbucket.times import LATEST, SECOND, format_stamp, format_time, parse_stamp, parse_time

NOW = 1_795_387_867_123_456_789  # 2026-11-22T22:51:07.123456789Z
AT = 1_795_387_867 * SECOND
TIMES = st.integers(0, LATEST)
DIGITS = st.sampled_from("0123456789-:TZ.+ nowsmhd")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22T22:51:07", AT),
        ("2026-11-22T22:51:07Z", AT),
        ("2026-11-22t22:51:07z", AT),
        ("2026-11-22 22:51:07", AT),
        ("  2026-11-22T22:51:07\n", AT),
        ("2026-11-23T00:51:07+02:00", AT),
        ("2026-11-23T00:51:07+0200", AT),
        ("2026-11-23T00:51:07 02:00", AT),  # a "+" that nobody escaped
        ("2026-11-22T17:21:07-05:30", AT),
        ("2026-11-22T22:51:07-00:00", AT),
        ("2026-11-22T22:51:07.5", AT + SECOND // 2),
        ("2026-11-22T22:51:07.123456789Z", NOW),
        ("2026-11-23T00:51:07.123456789+02:00", NOW),
        ("2026-11-23T00:51:07.123456789 02:00", NOW),
        ("2026-12-31T23:59:60Z", 1_798_761_600 * SECOND),  # a leap second is the next one
        ("2026-12-31T23:59:60", 1_798_761_600 * SECOND),
        ("2028-02-29T00:00:00", 1_835_395_200 * SECOND),
        ("1970-01-01T00:00:00", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("2262-04-11T23:47:16.854775807Z", LATEST),
        ("1795387867", AT),
        ("1795387867.123456789", NOW),
        ("1795387867.5", AT + SECOND // 2),
        ("0", 0),
        ("now", NOW),
        ("now-1h", NOW - 3600 * SECOND),
        ("-15m", NOW - 900 * SECOND),
        ("-90s", NOW - 90 * SECOND),
        ("-1d", NOW - 86_400 * SECOND),
        ("now-2w", NOW - 14 * 86_400 * SECOND),
        ("now-1h30m", NOW - 5400 * SECOND),
        ("now+1h", NOW + 3600 * SECOND),
        ("now 1h", NOW + 3600 * SECOND),  # the same, arrived with a space
        ("now-0s", NOW),
    ],
)
def test_a_text_is_this_time(text: str, time: int) -> None:
    assert parse_time(text, NOW) == time


@pytest.mark.parametrize("digits", range(1, 13))
def test_a_fraction_has_any_number_of_digits_and_nine_of_them_count(digits: int) -> None:
    fraction = "987654321987"[:digits]
    nanos = int(fraction[:9].ljust(9, "0"))
    assert parse_time(f"2026-11-22T22:51:07.{fraction}", NOW) == AT + nanos
    assert parse_time(f"2026-11-22T22:51:07.{fraction}Z", NOW) == AT + nanos
    assert parse_time(f"1795387867.{fraction}", NOW) == AT + nanos


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not a time: ''; write it as 2006-01-02T15:04:05, RFC 3339, unix seconds, now, now-1h or -15m"),
        (" ", "not a time"),
        ("yesterday", "not a time: 'yesterday'"),
        ("2026-11-22", "not a time"),
        ("22:51:07", "not a time"),
        ("2026-11-22T22:51", "not a time"),
        ("2026-11-22T22:51:07.", "not a time"),
        ("2026-11-22T22:51:07 UTC", "not a time"),
        ("2026-11-22T22:51:07+2", "not a time"),
        ("26-11-22T22:51:07", "not a time"),
        ("12026-11-22T22:51:07", "not a time"),
        ("2026-1-2T22:51:07", "not a time"),
        ("٢٠٢٦-11-22T22:51:07", "not a time"),
        ("١٢٣", "not a time"),
        ("-5", "not a time"),
        ("1e9", "not a time"),
        ("0x10", "not a time"),
        ("1_000", "not a time"),
        ("nan", "not a time"),
        ("1795387867123", "not a time"),  # milliseconds
        ("1.", "not a time"),
        (".5", "not a time"),
        ("now-", "not a time"),
        ("now-1", "not a time"),
        ("now-1y", "not a time"),
        ("now-1.5h", "not a time"),
        ("now--1h", "not a time"),
        ("NOW", "not a time"),
        ("\ud800", "not a time"),
        ("now\0", "not a time"),
        ("2026-02-30T00:00:00", "no such day: '2026-02-30T00:00:00'"),
        ("2027-02-29T00:00:00", "no such day"),
        ("2026-13-01T00:00:00", "no such day"),
        ("2026-00-01T00:00:00", "no such day"),
        ("2026-01-00T00:00:00", "no such day"),
        ("0000-01-01T00:00:00", "no such day"),
        ("2026-11-22T24:00:00", "no such time of day: '2026-11-22T24:00:00'"),
        ("2026-11-22T22:60:00", "no such time of day"),
        ("2026-11-22T22:51:61", "no such time of day"),
        ("2026-11-22T22:51:07+24:00", "no such zone"),
        ("2026-11-22T22:51:07-01:60", "no such zone"),
        ("2026-11-22T22:51:07+99:99", "no such zone"),
        ("1969-12-31T23:59:59", "a time outside 1970 to 2262: '1969-12-31T23:59:59'"),
        ("0001-01-01T00:00:00", "a time outside 1970 to 2262"),
        ("1970-01-01T00:00:00+00:01", "a time outside"),
        ("2262-04-11T23:47:16.854775808Z", "a time outside"),
        ("9999-12-31T23:59:59", "a time outside"),
        ("9999999999", "a time outside"),
        ("now-100000d", "a time outside"),
        ("now+999999999w", "a time outside"),
    ],
)
def test_a_text_is_no_time_for_a_reason(text: str, sentence: str) -> None:
    with pytest.raises(Invalid, match=sentence.replace("+", r"\+")):
        parse_time(text, NOW)


def test_a_sentence_about_a_long_text_is_short() -> None:
    long = "1" * 100_000
    for text in (
        long,
        f"2026-02-30T00:00:00.{long}",
        f"2026-11-22T24:00:00.{long}",
        f"9999-11-22T23:00:00.{long}",
    ):
        with pytest.raises(Invalid) as caught:
            parse_time(text, NOW)
        assert len(str(caught.value)) < 250
    with pytest.raises(Invalid):
        parse_time("now-" + "1h" * 100_000 + "x", NOW)


def test_an_end_in_whole_seconds_holds_the_whole_second() -> None:
    """Answers show whole seconds: a range that ends with a time that was shown contains its profile."""
    last = AT + SECOND - 1
    for text in ("2026-11-22T22:51:07", "2026-11-22T22:51:07Z", "2026-11-23T00:51:07 02:00", "1795387867"):
        assert parse_time(text, NOW, end=True) == last
    # What says more than seconds, or is no text of ours, is meant as it is.
    for text in ("2026-11-22T22:51:07.0", "1795387867.000"):
        assert parse_time(text, NOW, end=True) == AT
    assert parse_time("now", NOW, end=True) == NOW
    assert parse_time("-1s", NOW, end=True) == NOW - SECOND


@given(TIMES)
def test_a_time_that_was_shown_begins_and_ends_a_range_that_contains_it(time: int) -> None:
    shown = format_time(time)
    if time // SECOND < LATEST // SECOND:
        assert parse_time(shown, 0) <= time <= parse_time(shown, 0, end=True)
    assert parse_time(shown, 0) == time // SECOND * SECOND


@given(TIMES, st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_a_time_is_the_same_in_every_zone(time: int, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    seconds, nanos = divmod(time, SECOND)
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).astimezone(zone)
    written = f"{local:%Y-%m-%dT%H:%M:%S}.{nanos:09}{local:%z}"
    assert parse_time(written, 0) == time
    assert parse_time(written.replace("+", " "), 0) == time


@given(TIMES)
def test_a_time_is_the_same_in_unix_seconds(time: int) -> None:
    assert parse_time(f"{time // SECOND}.{time % SECOND:09}", 0) == time


@given(TIMES)
def test_a_stamp_is_read_as_it_was_written(time: int) -> None:
    assert parse_stamp(format_stamp(time)) == time
    assert len(format_stamp(time)) == len("20261122T225107.123456789Z")


@given(TIMES, TIMES)
def test_stamps_sort_by_time(one: int, other: int) -> None:
    assert (format_stamp(one) < format_stamp(other)) is (one < other)


def test_times_are_written_as_they_always_were() -> None:
    """The written form of stamps is that of objects that are stored already: it cannot change."""
    assert format_stamp(NOW) == "20261122T225107.123456789Z"
    assert format_stamp(0) == "19700101T000000.000000000Z"
    assert format_stamp(LATEST) == "22620411T234716.854775807Z"
    assert format_time(NOW) == "2026-11-22T22:51:07Z"
    assert format_time(NOW + 876_543_210) == "2026-11-22T22:51:07Z"  # truncated, not rounded
    assert format_time(LATEST) == "2262-04-11T23:47:16Z"


@given(st.text(DIGITS) | st.text(), st.booleans())
def test_whatever_is_parsed_is_a_time_or_invalid(text: str, end: bool) -> None:
    try:
        assert 0 <= parse_time(text, NOW, end=end) <= LATEST
    except Invalid as error:
        str(error).encode()  # the sentence can be sent


@given(st.text(DIGITS) | st.text())
def test_whatever_is_no_stamp_is_a_value_error(text: str) -> None:
    try:
        time = parse_stamp(text)
    except ValueError:
        return
    assert format_stamp(time) == text


@pytest.mark.parametrize(
    "stamp",
    [
        "",
        "20261122T225107Z",
        "20261122T225107.12345678Z",
        "20261122T225107.123456789",
        "20261122T225107.123456789Z\n",
        "20261122t225107.123456789Z",
        "20261131T225107.123456789Z",
        "20261122T245107.123456789Z",
        "20261122T225160.123456789Z",
        "20261122T225161.123456789Z",
        "00000101T000000.000000000Z",
        "٢0261122T225107.123456789Z",
    ],
)
def test_a_stamp_that_is_never_written_is_a_value_error(stamp: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_stamp(stamp)
