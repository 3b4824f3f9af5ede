"""Requests of OpenTelemetry's exporters, built with OpenTelemetry's own messages."""

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.profiles.v1development.profiles_pb2 import (
    Function,
    KeyValueAndUnit,
    Line,
    Location,
    Profile,
    ResourceProfiles,
    Sample,
    Stack,
    ValueType,
)
from opentelemetry.proto.profiles.v1development.profiles_pb2 import (
    Mapping as Binary,
)

AT = 1_795_386_684_018_440_210


class Request:
    """A request; ``message`` is OpenTelemetry's."""

    def __init__(self) -> None:
        self.message = ExportProfilesServiceRequest()
        dictionary = self.message.dictionary
        dictionary.string_table.append("")
        dictionary.mapping_table.append(Binary())
        dictionary.location_table.append(Location())
        dictionary.function_table.append(Function())
        dictionary.attribute_table.append(KeyValueAndUnit())
        dictionary.stack_table.append(Stack())
        dictionary.link_table.add()

    def resource(self, **attributes: str | int | bool) -> ResourceProfiles:
        """Add a resource; dots in names of *attributes* are written as two underscores."""
        added = self.message.resource_profiles.add()
        added.scope_profiles.add()
        for name, item in attributes.items():
            added.resource.attributes.append(KeyValue(key=name.replace("__", "."), value=value(item)))
        return added

    def profile(
        self,
        resource: ResourceProfiles,
        sample_type: tuple[str, str],
        samples: Sequence[Sample],
        *,
        period_type: tuple[str, str] = ("", ""),
        period: int = 0,
        at: int = AT,
    ) -> Profile:
        """Add a profile to *resource*."""
        return resource.scope_profiles[0].profiles.add(
            sample_type=self.value_type(*sample_type),
            samples=samples,
            time_unix_nano=at,
            duration_nano=10**10,
            period_type=self.value_type(*period_type),
            period=period,
            profile_id=bytes(range(16)),
        )

    def value_type(self, name: str, unit: str) -> ValueType:
        return ValueType(type_strindex=self.string(name), unit_strindex=self.string(unit))

    def string(self, text: str) -> int:
        table = self.message.dictionary.string_table
        if text not in table:
            table.append(text)
        return list(table).index(text)

    def stack(self, *names: str) -> int:
        """Add a stack of functions, innermost first, and return its index."""
        dictionary = self.message.dictionary
        locations = []
        for name in names:
            dictionary.function_table.add(name_strindex=self.string(name), filename_strindex=self.string("a.py"))
            line = Line(function_index=len(dictionary.function_table) - 1, line=7)
            dictionary.location_table.add(lines=[line], mapping_index=0)
            locations.append(len(dictionary.location_table) - 1)
        dictionary.stack_table.add(location_indices=locations)
        return len(dictionary.stack_table) - 1

    def attribute(self, key: str, item: str | int | bool, unit: str = "") -> int:
        """Add an attribute of samples and return its index."""
        table = self.message.dictionary.attribute_table
        table.add(key_strindex=self.string(key), value=value(item), unit_strindex=self.string(unit))
        return len(table) - 1

    def encode(self) -> bytes:
        data: bytes = self.message.SerializeToString()
        return data


def value(item: str | int | bool) -> AnyValue:
    if isinstance(item, bool):
        return AnyValue(bool_value=item)
    return AnyValue(int_value=item) if isinstance(item, int) else AnyValue(string_value=item)


def cpu_request(samples: Mapping[tuple[str, ...], int], service: str = "shop") -> Request:
    """Return a request with one CPU profile that counts *samples* by their functions, 10 ms apart."""
    request = Request()
    counted = [Sample(stack_index=request.stack(*names), values=[count]) for names, count in samples.items()]
    resource = request.resource(service__name=service, service__version="1.2.3", process__pid=7)
    request.profile(resource, ("samples", "count"), counted, period_type=("cpu", "nanoseconds"), period=10**7)
    return request
