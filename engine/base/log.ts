/** Where a device or the machine reports what a person debugging a guest wants to know. */
export interface Log {
  info(message: string): void;
  warn(message: string): void;
}

export const silentLog: Log = { info() {}, warn() {} };

/** A log that passes on at most `limit` warnings and says so at the last one: guests can provoke warnings at will. */
export function limitedLog(log: Log, limit = 50): Log {
  let left = limit;
  return {
    info: (message) => log.info(message),
    warn(message) {
      if (left > 0) {
        left--;
        log.warn(left === 0 ? `${message} (further warnings of this kind are dropped)` : message);
      }
    },
  };
}
