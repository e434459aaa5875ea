import type { GuestSystem } from '../contract/host.ts';

type Hardware = Pick<GuestSystem['defaults'], 'diskBus' | 'network' | 'vga' | 'paravirtual' | 'hyperv'>;

/** For systems that bring drivers of virtio along, in what they are installed from too. */
const VIRTIO: Hardware = { diskBus: 'virtio', network: 'virtio', vga: 'virtio', paravirtual: true, hyperv: false };
/** For systems that know the hardware of PCs only. */
const LEGACY: Hardware = { diskBus: 'ide', network: 'e1000', vga: 'std', paravirtual: false, hyperv: false };
/** Windows since Vista goes by Hyper-V's clocks and waits better where it finds them. */
const WINDOWS: Hardware = { ...LEGACY, hyperv: true };
/** FreeBSD has virtio drivers but for its display. */
const VIRTIO_STD_VGA: Hardware = { ...VIRTIO, vga: 'std' };
const NO_NETWORK: Hardware = { ...LEGACY, network: null };

const system = (
  id: string,
  name: string,
  family: GuestSystem['family'],
  bits: GuestSystem['bits'],
  [memory, leastMemory]: readonly [number, number],
  [disk, leastDisk]: readonly [number, number],
  hardware: Hardware,
): GuestSystem => ({
  id,
  name,
  family,
  bits,
  defaults: { memoryMegabytes: memory, processors: 1, diskGigabytes: disk, firmware: 'bios', ...hardware },
  minima: { memoryMegabytes: leastMemory, diskGigabytes: leastDisk },
});

/** The demonstration guest that Lodge carries. */
export const DEMO_GUEST_SYSTEM = 'lodge-tour';

/**
 * The guest systems that Lodge knows, with the memory (default, minimum; MB) and disk (GB) that their makers recommend.
 * Several processors are worth it only where the accelerator runs them at the same time, so one is the default.
 */
export const guestSystems: readonly GuestSystem[] = [
  system('debian', 'Debian', 'linux', 64, [1024, 512], [20, 4], VIRTIO),
  system('ubuntu', 'Ubuntu', 'linux', 64, [2048, 1024], [25, 10], VIRTIO),
  system('fedora', 'Fedora', 'linux', 64, [2048, 1024], [25, 10], VIRTIO),
  system('arch', 'Arch Linux', 'linux', 64, [1024, 512], [20, 2], VIRTIO),
  system('alpine', 'Alpine Linux', 'linux', 64, [512, 128], [4, 0.5], VIRTIO),
  system('linux-64', 'Other Linux (64-bit)', 'linux', 64, [1024, 256], [20, 1], VIRTIO),
  system('linux-32', 'Other Linux (32-bit)', 'linux', 32, [512, 64], [8, 1], VIRTIO),
  system('windows-11', 'Windows 11', 'windows', 64, [3584, 4096], [64, 64], WINDOWS),
  system('windows-10', 'Windows 10', 'windows', 64, [3072, 2048], [50, 32], WINDOWS),
  system('windows-7', 'Windows 7', 'windows', 64, [2048, 1024], [32, 16], WINDOWS),
  system('windows-xp', 'Windows XP', 'windows', 32, [512, 64], [10, 2], LEGACY),
  system('freebsd', 'FreeBSD', 'bsd', 64, [1024, 256], [16, 2], VIRTIO_STD_VGA),
  system('dos', 'DOS', 'dos', 16, [32, 16], [0.5, 0.01], NO_NETWORK),
  system(DEMO_GUEST_SYSTEM, 'Lodge tour', 'other', 64, [64, 32], [0.01, 0.001], NO_NETWORK),
  system('other', 'Other', 'other', 64, [512, 16], [10, 0.001], LEGACY),
];
