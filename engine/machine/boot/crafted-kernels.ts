/** Small kernel files made for tests: right in every field that a loader reads. */

export interface CraftedLinux {
  readonly version?: number;
  readonly bodyBytes?: number;
  readonly initSize?: number;
  readonly commandLineSize?: number;
  readonly initrdMax?: number;
}

/** A bzImage with one setup sector more than the first, whose protected-mode part is filled with 0x90. */
export function craftBzImage(options: CraftedLinux = {}): Uint8Array {
  const setupSectors = 2;
  const bodyBytes = options.bodyBytes ?? 0x2000;
  const file = Buffer.alloc((setupSectors + 1) * 512 + bodyBytes, 0x90);
  file.fill(0, 0, (setupSectors + 1) * 512);
  file[0x1f1] = setupSectors;
  file.writeUInt32LE(Math.ceil(bodyBytes / 16), 0x1f4);
  file.writeUInt16LE(0xffff, 0x1fa);
  file.writeUInt16LE(0xaa55, 0x1fe);
  file.set([0xeb, 0x66], 0x200);
  file.write('HdrS', 0x202, 'latin1');
  file.writeUInt16LE(options.version ?? 0x20f, 0x206);
  file[0x211] = 0x81;
  file.writeUInt32LE(0x100000, 0x214);
  file.writeUInt32LE(options.initrdMax ?? 0x7fffffff, 0x22c);
  file.writeUInt32LE(0x200000, 0x230);
  file[0x234] = 1;
  file.writeUInt32LE(options.commandLineSize ?? 2047, 0x238);
  file.writeBigUInt64LE(0x200000n, 0x258);
  file.writeUInt32LE(options.initSize ?? 0x100000, 0x260);
  return new Uint8Array(file);
}

export interface CraftedElf {
  readonly bits: 32 | 64;
  readonly loadAddress?: number;
  readonly note?: boolean;
  readonly multiboot?: boolean;
}

/** An ELF file with one segment of 0x1000 bytes (0x3000 in memory), entered at its start + 0x10. */
export function craftElf({ bits, loadAddress = 0x200000, note = false, multiboot = false }: CraftedElf): Uint8Array {
  const file = Buffer.alloc(0x2000, 0);
  const wide = bits === 64;
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  file.writeUInt16LE(2, 16);
  file.writeUInt16LE(wide ? 62 : 3, 18);
  file.writeUInt32LE(1, 20);
  const virtual = 0x40000000;
  const headerSize = wide ? 56 : 32;
  const table = 0x100;
  if (wide) {
    file.writeBigUInt64LE(BigInt(virtual + 0x10), 24);
    file.writeBigUInt64LE(BigInt(table), 32);
    file.writeUInt16LE(headerSize, 54);
    file.writeUInt16LE(2, 56);
  } else {
    file.writeUInt32LE(virtual + 0x10, 24);
    file.writeUInt32LE(table, 28);
    file.writeUInt16LE(headerSize, 42);
    file.writeUInt16LE(2, 44);
  }
  const segment = (index: number, type: number, offset: number, address: number, size: number, room: number) => {
    const at = table + index * headerSize;
    file.writeUInt32LE(type, at);
    if (wide) {
      for (const [position, value] of [offset, virtual, address, size, room].entries()) {
        file.writeBigUInt64LE(BigInt(value), at + 8 + position * 8);
      }
    } else {
      for (const [position, value] of [offset, virtual, address, size, room].entries()) {
        file.writeUInt32LE(value, at + 4 + position * 4);
      }
    }
  };
  segment(0, 1, 0x1000, loadAddress, 0x1000, 0x3000);
  file.fill(0xf4, 0x1000, 0x2000);
  if (note) {
    const at = 0x300;
    segment(1, 4, at, 0, 0x34, 0x34);
    // Another note first, so that the search has something to pass over.
    file.writeUInt32LE(3, at);
    file.writeUInt32LE(5, at + 4);
    file.writeUInt32LE(18, at + 8);
    file.write('GN\0', at + 12, 'latin1');
    file.writeUInt32LE(4, at + 24);
    file.writeUInt32LE(8, at + 28);
    file.writeUInt32LE(18, at + 32);
    file.write('Xen\0', at + 36, 'latin1');
    file.writeUInt32LE(loadAddress + 0x20, at + 40);
  }
  if (multiboot) {
    writeMultibootHeader(file, 0x800, 0x3);
  }
  return new Uint8Array(file);
}

function writeMultibootHeader(file: Buffer, at: number, flags: number): void {
  file.writeUInt32LE(0x1badb002, at);
  file.writeUInt32LE(flags, at + 4);
  file.writeUInt32LE((0x1_0000_0000 - ((0x1badb002 + flags) % 0x1_0000_0000)) >>> 0, at + 8);
}

/** A flat Multiboot kernel that says itself where it belongs: header at offset 0x20 of the image, which starts at 0x10. */
export function craftFlatMultiboot(flags = 0x10003): Uint8Array {
  const file = Buffer.alloc(0x1010, 0x77);
  writeMultibootHeader(file, 0x30, flags);
  const load = 0x400000;
  for (const [index, value] of [load + 0x20, load, load + 0x1000, load + 0x2000, load + 0x100].entries()) {
    file.writeUInt32LE(value, 0x30 + 12 + index * 4);
  }
  return new Uint8Array(file);
}
