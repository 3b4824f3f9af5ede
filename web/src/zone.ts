// Times as they are shown: in UTC or in the time zone of the browser. Links and requests always hold UTC.

import { createContext } from "preact";
import { formatSecond, parseTime } from "./times";

export type Zone = "UTC" | "local";
export const ZoneContext = createContext<Zone>("UTC");

// Returns the seconds that a zone's clock is ahead of UTC at a time.
export function zoneOffset(seconds: number, zone: Zone): number {
  const offset = zone === "local" ? new Date(seconds * 1000).getTimezoneOffset() * -60 : 0;
  return Number.isNaN(offset) ? 0 : offset;
}

// Formats the offset of a time as "+02:00"; "Z" in UTC.
export function formatOffset(seconds: number, zone: Zone): string {
  if (zone === "UTC") return "Z";
  const minutes = zoneOffset(seconds, zone) / 60;
  const size = Math.abs(minutes);
  const twoDigits = (number: number): string => String(Math.floor(number)).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${twoDigits(size / 60)}:${twoDigits(size % 60)}`;
}

export function zoneName(seconds: number, zone: Zone): string {
  return zone === "UTC" ? "UTC" : `UTC${formatOffset(seconds, zone)}`;
}

// Formats unix seconds as the zone's clock shows them: 2006-01-02T15:04:05.
export function formatClock(seconds: number, zone: Zone): string {
  return formatSecond(seconds + zoneOffset(seconds, zone));
}

// Returns an absolute time of a link as an input shows it; any other text stays.
export function toInput(text: string, zone: Zone): string {
  const seconds = zone === "UTC" ? NaN : parseTime(text);
  return Number.isNaN(seconds) ? text : formatClock(seconds, zone) + formatOffset(seconds, zone);
}

// Returns the text of an input as links have it: a time without an offset is the zone's.
export function fromInput(text: string, zone: Zone): string {
  const seconds = zone === "UTC" ? NaN : parseTime(text);
  if (Number.isNaN(seconds)) return text;
  const hasOffset = /([zZ]|[+-]\d\d:?\d\d)$/.test(text);
  return formatSecond(hasOffset ? seconds : seconds - zoneOffset(seconds, zone));
}
