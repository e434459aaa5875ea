/** The calendar registers of the RTC as plain numbers; the weekday is 1 (Sunday) … 7. */
export interface CalendarTime {
  second: number;
  minute: number;
  hour: number;
  weekday: number;
  day: number;
  /** 1 … 12. */
  month: number;
  /** All four digits. */
  year: number;
}

/** Seconds since 1970 of a calendar time. Fields out of range carry over, as nothing better can be done with them. */
export function toEpochSeconds(time: CalendarTime): number {
  const date = new Date(0);
  date.setUTCFullYear(time.year, time.month - 1, time.day);
  date.setUTCHours(time.hour, time.minute, time.second);
  return Math.floor(date.getTime() / 1000);
}

/** Fills `into` with the calendar time of `seconds` since 1970. */
export function fromEpochSeconds(seconds: number, into: CalendarTime): void {
  const date = new Date(seconds * 1000);
  into.second = date.getUTCSeconds();
  into.minute = date.getUTCMinutes();
  into.hour = date.getUTCHours();
  into.weekday = date.getUTCDay() + 1;
  into.day = date.getUTCDate();
  into.month = date.getUTCMonth() + 1;
  into.year = date.getUTCFullYear();
}
