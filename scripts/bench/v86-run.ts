/** Boots a guest in v86 with its serial port on standard output. Its one argument is a V86Run in JSON. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Boot } from './hosts.ts';

interface V86Run extends Boot {
  /** Folders of v86's build and of SeaBIOS. */
  readonly library: string;
  readonly bios: string;
}

interface Emulator {
  add_listener(event: 'serial0-output-byte', listener: (byte: number) => void): void;
}

interface Library {
  readonly V86: new (options: Readonly<Record<string, unknown>>) => Emulator;
}

const run = JSON.parse(process.argv[2] ?? '{}') as V86Run;
const { V86 } = (await import(pathToFileURL(join(run.library, 'libv86.mjs')).href)) as Library;

function file(path: string): { buffer: ArrayBuffer } {
  const bytes = readFileSync(path);
  return { buffer: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer };
}

const emulator = new V86({
  wasm_path: join(run.library, 'v86.wasm'),
  bios: file(join(run.bios, 'bios.bin')),
  vga_bios: file(join(run.bios, 'vgabios-stdvga.bin')),
  memory_size: run.memory << 20,
  vga_memory_size: 8 << 20,
  acpi: true,
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
  ...(run.initrd === undefined
    ? { multiboot: file(run.kernel) }
    : { bzimage: file(run.kernel), initrd: file(run.initrd), cmdline: run.append ?? '' }),
});

// Written at once: the benchmark looks at when bytes come.
let waiting: number[] = [];
emulator.add_listener('serial0-output-byte', (byte) => {
  waiting.push(byte);
  if (byte === 10) {
    process.stdout.write(Buffer.from(waiting));
    waiting = [];
  }
});
