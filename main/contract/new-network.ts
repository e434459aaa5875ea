import type { NetworkSettings } from './devices.ts';
import type { GuestSystem } from './host.ts';

/** The first three bytes of the addresses of virtual cards: locally administered. */
const MAC_PREFIX = '52:54:00';

/** What is asked of a new network; what is missing follows from the guest system. */
export type NetworkWish = { readonly [K in keyof NetworkSettings]?: NetworkSettings[K] | undefined };

/** An address that no other machine has. */
export function newMacAddress(): string {
  const random = [...crypto.getRandomValues(new Uint8Array(3))];
  return [MAC_PREFIX, ...random.map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
}

/** A network with what was asked for, and what suits its guest system where nothing was. */
export function newNetwork(wish: NetworkWish, system: Pick<GuestSystem, 'defaults'> | undefined): NetworkSettings {
  const given = Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== undefined));
  return {
    model: system?.defaults.network ?? 'e1000',
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
