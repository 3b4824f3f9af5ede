"""Profiles of a few services over a year, and their samples, read one by one from the profiles."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from profbucket.ingest.collector import Collector
from profbucket.model.ids import SAMPLES
from profbucket.model.labels import Labels
from profbucket.model.profile_type import ProfileType
from profbucket.pprof import decode, encode, profile_pb2
from profbucket.pprof.report.function_names import format_function_names, intern_strings
from profbucket.samples.database import Database
from profbucket.samples.export import Exporter
from profbucket.samples.table_files import TableFiles
from profbucket.storage.memory import MemoryBucket, MemoryIndex
from profbucket.storage.store import Storage
from profbucket.times import SECOND
from tests.support.paths import DATA

CPU, HEAP = ProfileType.CPU, ProfileType.HEAP
ENDPOINTS = ("/cart", "/search")


@dataclass(frozen=True, slots=True)
class Posted:
    """A profile that a service sent on *date*: *file* of the test data, with changes if it has *endpoints*."""

    service: str
    type: ProfileType
    date: str
    labels: Mapping[str, str]
    file: Path
    endpoints: Sequence[str] = ()

    @property
    def midnight(self) -> int:
        return int(datetime.fromisoformat(self.date).replace(tzinfo=UTC).timestamp()) * SECOND

    def message(self) -> profile_pb2.Profile:
        """Return the profile without its time; samples are labelled with the endpoints in turn."""
        message = decode(self.file.read_bytes()).message
        strings = message.string_table
        strings.extend([b"endpoint", *(endpoint.encode() for endpoint in self.endpoints)])
        for number, sample in enumerate(message.sample if self.endpoints else ()):
            text = len(strings) - 1 - number % len(self.endpoints)
            sample.label.add(key=len(strings) - 1 - len(self.endpoints), str=text)
        return message


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a sample of *profile*. The frames of *stack* are functions, files and lines, the root first."""

    profile: Posted
    sample_type: str
    value: int
    stack: tuple[tuple[str, str, int], ...]
    labels: Mapping[str, str]

    @property
    def function(self) -> str:
        return self.stack[-1][0]

    @property
    def functions(self) -> set[str]:
        return {frame[0] for frame in self.stack}


def make_fleet() -> list[Posted]:
    """Return what three services in Go and one in Python sent."""
    return list(_post_fleet())


def _post_fleet() -> Iterator[Posted]:
    teams = {"shop": "storefront", "search": "storefront", "shop/billing": "payments"}
    numbers = {"shop": (1, 2, 3), "search": (3, 1), "shop/billing": (2,)}
    for version, date in (("0.0.1", "2026-11-17"), ("0.0.2", "2026-11-20")):
        for service, team in teams.items():
            labels = {"version": version, "team": team}
            for number in numbers[service]:
                folder = DATA / f"shop-{version}"
                yield Posted(service, CPU, date, labels, folder / f"cpu-{number}.pb.gz")
                endpoints = ENDPOINTS if service == "shop/billing" else ()
                yield Posted(service, HEAP, date, labels, folder / f"heap-{number}.pb.gz", endpoints)
    for date, number in (("2025-12-10", 1), ("2026-03-05", 2), ("2026-03-06", 3), ("2026-06-20", 1)):
        yield Posted("shop", CPU, date, {"version": "0.0.0"}, DATA / "shop-0.0.1" / f"cpu-{number}.pb.gz")
    yield Posted("reports", CPU, "2026-11-18", {}, DATA / "python" / "python-cpu.pb.gz")


def read_samples(profiles: Iterable[Posted]) -> Iterator[Sample]:
    """Yield each value of each sample of *profiles*."""
    for posted in profiles:
        message = posted.message()
        strings = intern_strings(message)
        texts = [text.decode() for text in strings]
        names = {key: name.decode() for key, name in format_function_names(message, strings).items()}
        files = {function.id: texts[function.filename] for function in message.function}
        frames = {
            location.id: [(names[line.function_id], files[line.function_id], line.line) for line in location.line]
            for location in message.location
        }
        for sample in message.sample:
            stack = tuple(frame for location in sample.location_id for frame in frames[location])[::-1]
            labels = {texts[label.key]: texts[label.str] for label in sample.label if label.str}
            for value_type, value in zip(message.sample_type, sample.value, strict=True):
                if stack:
                    yield Sample(posted, texts[value_type.type], value, stack, labels)


def open_tables(directory: Path, opened: Path) -> Database:
    """Return a database of the tables in *directory*; those that it opens are linked to the directory *opened*."""
    sources = {
        path.relative_to(directory).as_posix(): partial(_link, path) for path in directory.rglob("*.parquet")
    }
    return Database(TableFiles(sources, opened), opened)


def _link(target: Path, path: Path) -> None:
    path.hardlink_to(target)


def write_tables(profiles: Iterable[Posted], directory: Path) -> None:
    """Store *profiles*, a minute apart, and write the tables of all their days below *directory*."""
    storage = Storage(MemoryBucket(), MemoryIndex())
    days = set()
    for number, posted in enumerate(profiles):
        message = posted.message()
        message.time_nanos = posted.midnight + 60 * SECOND * number
        Collector(storage).collect(
            posted.service, posted.type, Labels.from_pairs(posted.labels.items()), encode(message)
        )
        days.add((posted.service, posted.type, posted.midnight))
    for day in sorted(days):
        Exporter(storage).export_day(*day)
    for table in storage.bucket.list(SAMPLES, f"{SAMPLES[:-1]}0"):
        path = directory / table.key
        path.parent.mkdir(parents=True)
        path.write_bytes(storage.bucket.get(table.key))
