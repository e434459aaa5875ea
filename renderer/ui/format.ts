import { DEFAULT_HOST_ADDRESS } from '../../engine/config/network-config.ts';
import type { PortForward } from '../../main/contract/devices.ts';

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/** A size for people: '1.4 GB'. Units of 1024, as tools for disk images use them. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits).replace(/\.0$/, '')} ${UNITS[unit]}`;
}

/** The last part of a path of either kind of system. */
export function fileName(path: string): string {
  return path.split(/[/\\]/).findLast((part) => part !== '') ?? path;
}

/** A forwarded port as it is read: `TCP 2222 → 22`, with the addresses that are not the usual ones. */
export function forwardLine({ protocol, hostAddress, hostPort, guestAddress, guestPort }: PortForward): string {
  const host = hostAddress === DEFAULT_HOST_ADDRESS ? String(hostPort) : hostAndPort(hostAddress, hostPort);
  const guest = guestAddress === null ? String(guestPort) : hostAndPort(guestAddress, guestPort);
  return `${protocol.toUpperCase()} ${host} → ${guest}`;
}

function hostAndPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
