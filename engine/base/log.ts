/** Where a device or the machine reports what a person debugging a guest wants to know. */
export interface Log {
  info(message: string): void;
  warn(message: string): void;
}

export const silentLog: Log = { info() {}, warn() {} };

/**
 * A log that passes on at most `limit` messages of each kind and says so at the last one: guests can provoke messages
 * at will.
 */
export function limitedLog(log: Log, limit = 50): Log {
  const limited = (pass: (message: string) => void) => {
    let left = limit;
    return (message: string) => {
      if (left > 0) {
        left--;
        pass(left === 0 ? `${message} (further messages of this kind are dropped)` : message);
      }
    };
  };
  return { info: limited((message) => log.info(message)), warn: limited((message) => log.warn(message)) };
}
