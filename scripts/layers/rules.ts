/**
 * Who may import whom. One row a layer; the first row whose pattern matches a file decides. Patterns are folders or
 * files from the project's root: `*` stands for a part of one name, `**` for any folders, a trailing `/` for everything
 * below a folder.
 * See docs/architecture.md, "Who may import whom"; change both together.
 */
export interface Layer {
  /** The files this row speaks about. */
  readonly of: readonly string[];
  /** What they may import besides their own folder (`own`) and `everyone`. */
  readonly may: readonly string[];
  /** Exceptions to `own`: the file's own folder is the one this many names deep; a device is engine/devices/NAME. */
  readonly ownDepth: number;
  /** Node's built-in modules: all, only those that compute without touching the host, or none. */
  readonly node: 'all' | 'pure' | 'none';
  /** Packages from npm, by name. */
  readonly packages: readonly string[];
}

/** What every file of the project may import. */
export const everyone: readonly string[] = ['engine/base/'];

/** Node's modules that touch neither files, sockets, processes nor threads. */
export const pureNodeModules: readonly string[] = [
  'node:assert',
  'node:assert/strict',
  'node:buffer',
  'node:crypto',
  'node:path',
  'node:perf_hooks',
  'node:util',
  'node:zlib',
];

/** Tests, and what only tests use, beside what they test. */
export const tests: readonly string[] = [
  '*.test.ts',
  '*.test.tsx',
  '*.bench.ts',
  '**/testing/',
  '**/testing.ts',
  'engine/devices/ide/ide-host.ts',
];

/** What a test may import on top of its subject's layer. */
export const testsMay: readonly string[] = [
  'engine/testing/',
  'engine/virtio/testing/',
  'engine/clock/',
  'engine/backends/',
  'engine/memory/',
  // Tests that run real machines look whether there is firmware.
  'engine/firmware/find-firmware.ts',
];

/** Packages that tests may use besides their layer's. */
export const testPackages: readonly string[] = [
  '@axe-core/playwright',
  '@playwright/test',
  '@testing-library/react',
  '@testing-library/user-event',
  'vitest',
];

/** What devices declare themselves and their state with, and the seams of what they talk to on the host. */
const deviceInterfaces = ['engine/devices/*.ts', 'engine/devices/dma/dma-channel.ts'];
const backendInterfaces = ['engine/backends/*.ts', 'engine/backends/*/*-backend.ts', 'engine/net/network-port.ts'];
const chips = ['engine/bus/', 'engine/irq/', 'engine/clock/', 'engine/memory/'];

const device: Omit<Layer, 'of' | 'ownDepth'> = {
  may: [...chips, 'engine/pci/', ...deviceInterfaces, ...backendInterfaces],
  node: 'pure',
  packages: [],
};

export const layers: readonly Layer[] = [
  { of: ['engine/base/', 'engine/config/'], may: [], ownDepth: 2, node: 'pure', packages: [] },
  { of: ['engine/memory/', 'engine/clock/'], may: deviceInterfaces, ownDepth: 2, node: 'pure', packages: [] },
  { of: ['engine/bus/'], may: ['engine/memory/', ...deviceInterfaces], ownDepth: 2, node: 'pure', packages: [] },
  // One test puts the whole interrupt path of a PC together, from the timers to the processor.
  { of: ['engine/irq/interrupt-path.test.ts'], may: ['engine/'], ownDepth: 2, node: 'pure', packages: [] },
  { of: ['engine/irq/'], may: [...chips, ...deviceInterfaces], ownDepth: 2, node: 'pure', packages: [] },
  { of: ['engine/pci/'], may: [...chips, ...deviceInterfaces], ownDepth: 2, node: 'pure', packages: [] },
  { of: ['engine/devices/*.ts'], ...device, ownDepth: 2 },
  { of: ['engine/devices/'], ...device, ownDepth: 3 },
  {
    of: ['engine/virtio/'],
    ...device,
    may: [
      ...device.may,
      'engine/virtio/*.ts',
      'engine/virtio/queue/',
      'engine/virtio/pci/',
      'engine/virtio/mmio/',
      // Replies of a CD-ROM drive, pure functions: on SCSI they are the same.
      'engine/devices/ide/mmc.ts',
    ],
    ownDepth: 3,
  },
  {
    // KVM's 8254 beside the machine's own.
    of: ['engine/cpu/kvm/pit-page.test.ts', 'engine/cpu/kvm/kvm-chips.test.ts'],
    may: ['engine/cpu/', ...chips, ...deviceInterfaces, 'engine/devices/pit/', 'native/'],
    ownDepth: 2,
    node: 'pure',
    packages: [],
  },
  {
    of: ['engine/cpu/kvm/'],
    may: ['engine/cpu/', ...chips, ...deviceInterfaces, 'native/'],
    ownDepth: 2,
    node: 'pure',
    packages: [],
  },
  { of: ['engine/cpu/'], may: [...chips, ...deviceInterfaces], ownDepth: 2, node: 'pure', packages: [] },
  {
    // TAP, and what gives memory and space of guests back to the host.
    of: ['engine/backends/net/tap*', 'engine/backends/memory/release-pages.ts', 'engine/backends/block/file-blocks.ts'],
    may: ['native/'],
    ownDepth: 2,
    node: 'all',
    packages: [],
  },
  { of: ['engine/backends/'], may: ['engine/net/host-sockets.ts'], ownDepth: 2, node: 'all', packages: [] },
  // Touches no sockets itself: the host is an interface.
  { of: ['engine/net/'], may: ['engine/clock/', ...deviceInterfaces], ownDepth: 2, node: 'pure', packages: [] },
  {
    // Looks for SeaBIOS among the host's files.
    of: ['engine/firmware/find-firmware.ts'],
    may: [],
    ownDepth: 2,
    node: 'all',
    packages: [],
  },
  {
    // Tables describe what the PC has: its interrupt routing, and the items of fw_cfg that carry them.
    of: ['engine/firmware/'],
    may: [
      'engine/config/',
      'engine/memory/',
      'engine/pci/',
      'engine/devices/fw-cfg/fw-cfg-items.ts',
      ...deviceInterfaces,
    ],
    ownDepth: 2,
    node: 'pure',
    packages: [],
  },
  { of: ['engine/snapshot/'], may: deviceInterfaces, ownDepth: 2, node: 'pure', packages: [] },
  {
    of: ['engine/machine/'],
    may: [
      ...chips,
      'engine/config/',
      'engine/cpu/',
      'engine/devices/',
      'engine/firmware/',
      'engine/pci/',
      'engine/snapshot/',
      'engine/virtio/',
      ...backendInterfaces,
    ],
    ownDepth: 2,
    node: 'pure',
    packages: [],
  },
  { of: ['engine/process/'], may: ['engine/'], ownDepth: 2, node: 'all', packages: ['zod'] },
  { of: ['engine/testing/'], may: ['engine/'], ownDepth: 2, node: 'all', packages: [] },
  { of: ['native/'], may: [], ownDepth: 1, node: 'all', packages: [] },
  {
    of: ['main/desktop/vite.config.ts'],
    may: [],
    ownDepth: 2,
    node: 'all',
    packages: ['vite'],
  },
  {
    // Menus and dialogs of the desktop speak from the user interface's one catalogue.
    of: ['main/desktop/'],
    may: ['main/', 'engine/process/', 'engine/config/', 'renderer/i18n/messages.ts'],
    ownDepth: 2,
    node: 'all',
    packages: ['electron', 'electron-store', 'zod'],
  },
  {
    of: ['main/contract/'],
    may: ['engine/config/'],
    ownDepth: 2,
    node: 'none',
    packages: ['zod'],
  },
  {
    // The built-in guest is assembled from its sources where the app was not built.
    of: ['main/services/demo-guest.ts'],
    may: ['assets/'],
    ownDepth: 2,
    node: 'all',
    packages: [],
  },
  {
    of: ['main/'],
    may: ['main/', 'engine/process/', 'engine/config/'],
    ownDepth: 2,
    node: 'all',
    packages: ['commander', 'ws', 'zod'],
  },
  {
    of: ['renderer/vite.config.ts'],
    may: [],
    ownDepth: 1,
    node: 'all',
    packages: ['@vitejs/plugin-react', 'vitest'],
  },
  {
    // A browser's page: whatever it needs is bundled, but nothing of Node or Electron exists there.
    of: ['renderer/'],
    may: ['main/contract/', 'engine/config/'],
    ownDepth: 1,
    node: 'none',
    packages: [
      '@base-ui/react',
      '@hookform/resolvers',
      '@xterm/addon-fit',
      '@xterm/xterm',
      'i18next',
      'lucide-react',
      'react',
      'react-dom',
      'react-hook-form',
      'react-i18next',
      'zod',
    ],
  },
  { of: ['assets/'], may: ['engine/testing/'], ownDepth: 1, node: 'all', packages: [] },
  {
    // Measures the whole way from a guest's screen to a viewer.
    of: ['scripts/bench-display.ts'],
    may: ['engine/', 'main/'],
    ownDepth: 1,
    node: 'all',
    packages: [],
  },
  { of: ['scripts/'], may: ['assets/', 'engine/', 'e2e/'], ownDepth: 1, node: 'all', packages: [] },
  {
    of: ['e2e/'],
    may: ['assets/', 'engine/', 'scripts/', 'main/contract/'],
    ownDepth: 1,
    node: 'all',
    packages: ['@axe-core/playwright', '@playwright/test'],
  },
];
