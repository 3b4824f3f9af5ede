"""Times: all forms that clients send, to the nanosecond, and what is invalid."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profbucket.errors import Invalid, Unavailable
from profbucket.times import LATEST, SECOND, format_stamp, format_time, parse_stamp, parse_time, read_clock

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
        ("2026-11-23T00:51:07 02:00", AT),  # an unescaped "+"
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
        ("now 1h", NOW + 3600 * SECOND),  # an unescaped "+"
        ("now-0s", NOW),
    ],
)
def test_valid_times(text: str, time: int) -> None:
    assert parse_time(text, NOW) == time


@pytest.mark.parametrize("digits", range(1, 13))
def test_a_fraction_is_truncated_to_nine_digits(digits: int) -> None:
    fraction = "987654321987"[:digits]
    nanos = int(fraction[:9].ljust(9, "0"))
    assert parse_time(f"2026-11-22T22:51:07.{fraction}", NOW) == AT + nanos
    assert parse_time(f"2026-11-22T22:51:07.{fraction}Z", NOW) == AT + nanos
    assert parse_time(f"1795387867.{fraction}", NOW) == AT + nanos


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid time ''; write it as 2006-01-02T15:04:05, RFC 3339, unix seconds, now, now-1h or -15m"),
        (" ", "write it as"),
        ("yesterday", "invalid time 'yesterday'; write it as"),
        ("2026-11-22", "write it as"),
        ("22:51:07", "write it as"),
        ("2026-11-22T22:51", "write it as"),
        ("2026-11-22T22:51:07.", "write it as"),
        ("2026-11-22T22:51:07 UTC", "write it as"),
        ("2026-11-22T22:51:07+2", "write it as"),
        ("26-11-22T22:51:07", "write it as"),
        ("12026-11-22T22:51:07", "write it as"),
        ("2026-1-2T22:51:07", "write it as"),
        ("٢٠٢٦-11-22T22:51:07", "write it as"),
        ("١٢٣", "write it as"),
        ("-5", "write it as"),
        ("1e9", "write it as"),
        ("0x10", "write it as"),
        ("1_000", "write it as"),
        ("nan", "write it as"),
        ("1795387867123", "write it as"),  # milliseconds
        ("1.", "write it as"),
        (".5", "write it as"),
        ("now-", "write it as"),
        ("now-1", "write it as"),
        ("now-1y", "write it as"),
        ("now-1.5h", "write it as"),
        ("now--1h", "write it as"),
        ("NOW", "write it as"),
        ("\ud800", "write it as"),
        ("now\0", "write it as"),
        ("2026-02-30T00:00:00", "invalid time '2026-02-30T00:00:00'; no such day"),
        ("2027-02-29T00:00:00", "no such day"),
        ("2026-13-01T00:00:00", "no such day"),
        ("2026-00-01T00:00:00", "no such day"),
        ("2026-01-00T00:00:00", "no such day"),
        ("0000-01-01T00:00:00", "no such day"),
        ("2026-11-22T24:00:00", "invalid time '2026-11-22T24:00:00'; no such time of day"),
        ("2026-11-22T22:60:00", "no such time of day"),
        ("2026-11-22T22:51:61", "no such time of day"),
        ("2026-11-22T22:51:07+24:00", "no such zone"),
        ("2026-11-22T22:51:07-01:60", "no such zone"),
        ("2026-11-22T22:51:07+99:99", "no such zone"),
        ("1969-12-31T23:59:59", "invalid time '1969-12-31T23:59:59'; it must be from 1970 to 2262"),
        ("0001-01-01T00:00:00", "it must be from 1970 to 2262"),
        ("1970-01-01T00:00:00+00:01", "it must be from"),
        ("2262-04-11T23:47:16.854775808Z", "it must be from"),
        ("9999-12-31T23:59:59", "it must be from"),
        ("9999999999", "it must be from"),
        ("now-100000d", "it must be from"),
        ("now+999999999w", "it must be from"),
    ],
)
def test_invalid_times(text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        parse_time(text, NOW)
    assert caught.value.code == "invalid_time"


def test_the_error_for_a_long_text_is_short() -> None:
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


def test_an_end_in_whole_seconds_includes_the_whole_second() -> None:
    last = AT + SECOND - 1
    for text in ("2026-11-22T22:51:07", "2026-11-22T22:51:07Z", "2026-11-23T00:51:07 02:00", "1795387867"):
        assert parse_time(text, NOW, end=True) == last
    # An end with a fraction, or relative to now, is exact.
    for text in ("2026-11-22T22:51:07.0", "1795387867.000"):
        assert parse_time(text, NOW, end=True) == AT
    assert parse_time("now", NOW, end=True) == NOW
    assert parse_time("-1s", NOW, end=True) == NOW - SECOND


@given(TIMES)
def test_a_range_from_and_to_a_shown_time_includes_it(time: int) -> None:
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
def test_stamps_round_trip(time: int) -> None:
    assert parse_stamp(format_stamp(time)) == time
    assert len(format_stamp(time)) == len("20261122T225107.123456789Z")


@given(TIMES, TIMES)
def test_stamps_sort_by_time(one: int, other: int) -> None:
    assert (format_stamp(one) < format_stamp(other)) is (one < other)


def test_the_text_of_times_does_not_change() -> None:
    """Stamps are part of the keys of stored objects."""
    assert format_stamp(NOW) == "20261122T225107.123456789Z"
    assert format_stamp(0) == "19700101T000000.000000000Z"
    assert format_stamp(LATEST) == "22620411T234716.854775807Z"
    assert format_time(NOW) == "2026-11-22T22:51:07Z"
    assert format_time(NOW + 876_543_210) == "2026-11-22T22:51:07Z"  # truncated, not rounded
    assert format_time(LATEST) == "2262-04-11T23:47:16Z"


@given(st.text(DIGITS) | st.text(), st.booleans())
def test_any_text_is_a_time_or_invalid(text: str, end: bool) -> None:
    try:
        assert 0 <= parse_time(text, NOW, end=end) <= LATEST
    except Invalid as error:
        str(error).encode()  # the message can be sent


@given(st.text(DIGITS) | st.text())
def test_any_text_is_a_stamp_or_a_value_error(text: str) -> None:
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
def test_invalid_stamps(stamp: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_stamp(stamp)


@pytest.mark.parametrize("nanoseconds", [-1, LATEST + 1, 2**64, 10**40])
def test_a_clock_that_is_out_of_range_is_an_error(monkeypatch: pytest.MonkeyPatch, nanoseconds: int) -> None:
    monkeypatch.setattr("time.time_ns", lambda: nanoseconds)
    with pytest.raises(Unavailable, match="the clock of this machine is wrong"):
        read_clock()
