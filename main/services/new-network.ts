import { randomBytes } from 'node:crypto';
import type { NetworkSettings } from '../contract/devices.ts';
import type { GuestSystem } from '../contract/host.ts';

/** The first three bytes of addresses of virtual cards: locally administered. */
const MAC_PREFIX = '52:54:00';

/** An address that no other machine has. */
export function newMacAddress(): string {
  return [MAC_PREFIX, ...[...randomBytes(3)].map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

/** The network of a new machine: what was asked for, and what suits its guest system where nothing was. */
export function newNetwork(
  wanted: { readonly [K in keyof NetworkSettings]?: NetworkSettings[K] | undefined } | null | undefined,
  { defaults }: Pick<GuestSystem, 'defaults'>,
): NetworkSettings | null {
  if (wanted === null || (wanted === undefined && defaults.network === null)) {
    return null;
  }
  const given = Object.fromEntries(Object.entries(wanted ?? {}).filter(([, value]) => value !== undefined));
  return {
    model: defaults.network ?? 'e1000',
    mac: newMacAddress(),
    connected: true,
    forwards: [],
    hostLoopback: false,
    isolated: false,
    capture: null,
    bootFolder: null,
    bootFile: null,
    ...given,
  };
}
