import type { GuestSystem } from '../contract/host.ts';

const system = (
  id: string,
  name: string,
  family: GuestSystem['family'],
  bits: GuestSystem['bits'],
  [memory, leastMemory]: readonly [number, number],
  [disk, leastDisk]: readonly [number, number],
): GuestSystem => ({
  id,
  name,
  family,
  bits,
  defaults: { memoryMegabytes: memory, processors: 1, diskGigabytes: disk, firmware: 'bios' },
  minima: { memoryMegabytes: leastMemory, diskGigabytes: leastDisk },
});

/** The demonstration guest that Lodge carries. */
export const DEMO_GUEST_SYSTEM = 'lodge-tour';

/**
 * The guest systems that Lodge knows, with the memory (default, minimum; MB) and disk (GB) that their makers recommend.
 * Several processors are worth it only where the accelerator runs them at the same time, so one is the default.
 */
export const guestSystems: readonly GuestSystem[] = [
  system('debian', 'Debian', 'linux', 64, [1024, 512], [20, 4]),
  system('ubuntu', 'Ubuntu', 'linux', 64, [2048, 1024], [25, 10]),
  system('fedora', 'Fedora', 'linux', 64, [2048, 1024], [25, 10]),
  system('arch', 'Arch Linux', 'linux', 64, [1024, 512], [20, 2]),
  system('alpine', 'Alpine Linux', 'linux', 64, [512, 128], [4, 0.5]),
  system('linux-64', 'Other Linux (64-bit)', 'linux', 64, [1024, 256], [20, 1]),
  system('linux-32', 'Other Linux (32-bit)', 'linux', 32, [512, 64], [8, 1]),
  system('windows-11', 'Windows 11', 'windows', 64, [3584, 4096], [64, 64]),
  system('windows-10', 'Windows 10', 'windows', 64, [3072, 2048], [50, 32]),
  system('windows-7', 'Windows 7', 'windows', 64, [2048, 1024], [32, 16]),
  system('windows-xp', 'Windows XP', 'windows', 32, [512, 64], [10, 2]),
  system('freebsd', 'FreeBSD', 'bsd', 64, [1024, 256], [16, 2]),
  system('dos', 'DOS', 'dos', 16, [32, 16], [0.5, 0.01]),
  system(DEMO_GUEST_SYSTEM, 'Lodge tour', 'other', 64, [64, 32], [0.01, 0.001]),
  system('other', 'Other', 'other', 64, [512, 16], [10, 0.001]),
];
