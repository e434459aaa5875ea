import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../base/host-error.ts';
import { pcAcpiConfig } from '../../firmware/acpi/pc-config.ts';
import { FakeMemory } from '../../testing/fakes.ts';
import { Random } from '../../testing/random.ts';
import type { BootModule } from './boot-input.ts';
import { craftBzImage, craftElf, craftFlatMultiboot } from './crafted-kernels.ts';
import type { BootDisplay } from './display.ts';
import { loadKernel } from './load-kernel.ts';

const MEMORY = 16 << 20;

function load(
  kernel: Uint8Array,
  options: { modules?: BootModule[]; commandLine?: string; memory?: FakeMemory; display?: BootDisplay } = {},
) {
  const memory = options.memory ?? new FakeMemory(MEMORY);
  const start = loadKernel(
    memory,
    {
      kernel: { name: 'boot/kernel', bytes: kernel },
      modules: options.modules ?? [],
      commandLine: options.commandLine ?? 'console=ttyS0',
    },
    { cpus: 2, acpi: pcAcpiConfig({ cpus: 2, memoryBytes: memory.sizeBytes }) },
    options.display,
  );
  const bytes = Buffer.from(memory.bytes.buffer);
  const text = (at: number) => bytes.toString('latin1', at, bytes.indexOf(0, at));
  return { start, bytes, text };
}

function refusal(code: string, ...words: RegExp[]) {
  return (error: unknown) => {
    assert.ok(error instanceof HostError, String(error));
    assert.equal(error.code, code);
    assert.ok(!error.message.includes('\n'));
    for (const word of words) {
      assert.match(error.message, word);
    }
    return true;
  };
}

function sums(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0);
}

const ramdisk = (length: number, fill = 0x5a): BootModule => ({
  name: `initrd-${length}`,
  bytes: new Uint8Array(length).fill(fill),
});

test('Linux: kernel at 1 MiB, boot_params in ESI, command line, ramdisk and memory map in place', () => {
  const { start, bytes, text } = load(craftBzImage(), { modules: [ramdisk(5000, 1), ramdisk(100, 2)] });
  assert.equal(start.mode, 'protected32');
  assert.equal(start.eip, 0x100000);
  assert.equal(bytes[0x100000], 0x90);
  const params = start.registers.esi;
  assert.deepEqual([start.registers.ebx, start.registers.ebp, start.registers.edi], [0, 0, 0]);
  assert.equal(bytes.toString('latin1', params + 0x202, params + 0x206), 'HdrS');
  assert.equal(bytes[params + 0x210], 0xff);
  assert.equal(text(bytes.readUInt32LE(params + 0x228)), 'console=ttyS0');
  const initrd = bytes.readUInt32LE(params + 0x218);
  assert.equal(bytes.readUInt32LE(params + 0x21c), 5100);
  assert.equal(initrd % 4096, 0);
  assert.deepEqual([bytes[initrd], bytes[initrd + 4999], bytes[initrd + 5000], bytes[initrd + 5099]], [1, 1, 2, 2]);
  const count = bytes[params + 0x1e8] ?? 0;
  const map = Array.from({ length: count }, (_, index) => {
    const at = params + 0x2d0 + index * 20;
    return [Number(bytes.readBigUInt64LE(at)), Number(bytes.readBigUInt64LE(at + 8)), bytes.readUInt32LE(at + 16)];
  });
  assert.deepEqual(map.slice(0, 3), [
    [0, 0x9fc00, 1],
    [0x9fc00, 0x400, 2],
    [0xf0000, 0x10000, 2],
  ]);
  const high = map[3] ?? [];
  assert.equal(high[0], 0x100000);
  assert.ok(initrd + 5100 <= 0x100000 + (high[1] ?? 0), 'the ramdisk lies in usable RAM');
  assert.equal((map[4]?.[0] ?? 0) + (map[4]?.[1] ?? 0), MEMORY);
  // The GDT that the start state promises.
  assert.equal(bytes.readBigUInt64LE(start.gdt.base + 0x10), 0x00cf9b000000ffffn);
  assert.equal(bytes.readBigUInt64LE(start.gdt.base + 0x18), 0x00cf93000000ffffn);
});

test('direct boot leaves ACPI and SMBIOS tables where a kernel looks for them', () => {
  const { start, bytes } = load(craftBzImage());
  let rsdp = -1;
  let smbios = -1;
  for (let at = 0xe0000; at < 0x100000; at += 16) {
    if (bytes.toString('latin1', at, at + 8) === 'RSD PTR ') {
      rsdp = at;
    }
    if (bytes.toString('latin1', at, at + 4) === '_SM_') {
      smbios = at;
    }
  }
  assert.equal(Number(bytes.readBigUInt64LE(start.registers.esi + 0x70)), rsdp);
  assert.equal(sums(bytes.subarray(rsdp, rsdp + 36)), 0);
  const rsdt = bytes.readUInt32LE(rsdp + 16);
  assert.equal(bytes.toString('latin1', rsdt, rsdt + 4), 'RSDT');
  assert.equal(sums(bytes.subarray(rsdt, rsdt + bytes.readUInt32LE(rsdt + 4))), 0);
  assert.equal(sums(bytes.subarray(smbios, smbios + 31)), 0);
  assert.equal(bytes[bytes.readUInt32LE(smbios + 24)], 0, 'the first structure is type 0');
});

test('Linux: the screen is described as text or framebuffer', () => {
  const framebuffer = { kind: 'framebuffer', base: 0xfd000000, width: 1024, height: 768, stride: 4096 } as const;
  const { start, bytes } = load(craftBzImage(), { display: framebuffer });
  const info = bytes.subarray(start.registers.esi);
  assert.equal(info[0x0f], 0x23);
  assert.deepEqual([info.readUInt16LE(0x12), info.readUInt16LE(0x14), info.readUInt16LE(0x16)], [1024, 768, 32]);
  assert.equal(info.readUInt32LE(0x18), 0xfd000000);
  assert.equal(info.readUInt32LE(0x1c), 48);
  const plain = load(craftBzImage(), { display: { kind: 'text' } });
  assert.deepEqual([...plain.bytes.subarray(plain.start.registers.esi + 6, plain.start.registers.esi + 8)], [3, 80]);
});

test('Linux: limits of the kernel are kept', () => {
  assert.throws(
    () => load(craftBzImage(), { modules: [ramdisk(15 << 20)] }),
    refusal('bad-initrd', /initrd-15728640/, /16 MB/),
  );
  assert.throws(() => load(craftBzImage(), { modules: [ramdisk(0)] }), refusal('bad-initrd', /empty/));
  assert.throws(() => load(craftBzImage({ initSize: 64 << 20 })), refusal('bad-kernel', /66 MB/, /16 MB/));
  assert.throws(() => load(craftBzImage({ initSize: 0xffffffff })), refusal('bad-kernel'));
  assert.throws(() => load(craftBzImage({ commandLineSize: 10 })), refusal('bad-kernel', /13 bytes/, /10/));
  assert.throws(
    () => load(craftBzImage(), { commandLine: 'x'.repeat(100_000) }),
    refusal('bad-kernel', /command line/),
  );
  assert.throws(() => load(craftBzImage({ version: 0x0201 })), refusal('bad-kernel', /too old/));
  const low = load(craftBzImage({ initrdMax: 0x7fffff }), { modules: [ramdisk(4096)] });
  assert.equal(low.bytes.readUInt32LE(low.start.registers.esi + 0x218), 0x7ff000);
});

for (const bits of [32, 64] as const) {
  test(`PVH, ${bits}-bit ELF: segments, start info, modules and memory map`, () => {
    const memory = new FakeMemory(MEMORY);
    memory.bytes.fill(0xee);
    const { start, bytes, text } = load(craftElf({ bits, note: true }), { modules: [ramdisk(10)], memory });
    assert.equal(start.eip, 0x200020);
    assert.deepEqual(
      [bytes[0x200000], bytes[0x200fff], bytes[0x201000], bytes[0x202fff], bytes[0x203000]],
      [0xf4, 0xf4, 0, 0, 0xee],
    );
    const info = start.registers.ebx;
    assert.equal(bytes.readUInt32LE(info), 0x336ec578);
    assert.equal(bytes.readUInt32LE(info + 4), 1);
    assert.equal(bytes.readUInt32LE(info + 12), 1);
    const module = bytes.readUInt32LE(info + 16);
    assert.equal(bytes[bytes.readUInt32LE(module)], 0x5a);
    assert.equal(bytes.readUInt32LE(module + 8), 10);
    assert.equal(text(bytes.readUInt32LE(info + 24)), 'console=ttyS0');
    assert.equal(text(bytes.readUInt32LE(info + 32)).slice(0, 8), 'RSD PTR ');
    const map = bytes.readUInt32LE(info + 40);
    assert.equal(bytes.readUInt32LE(info + 48), 5);
    assert.deepEqual(
      [bytes.readUInt32LE(map), bytes.readUInt32LE(map + 8), bytes.readUInt32LE(map + 16)],
      [0, 0x9fc00, 1],
    );
  });

  test(`Multiboot, ${bits}-bit ELF: entry by physical address, information structure, modules`, () => {
    const modules = [{ ...ramdisk(10), name: 'dir/mod', commandLine: 'a=1' }, ramdisk(20)];
    const { start, bytes, text } = load(craftElf({ bits, multiboot: true }), { modules });
    assert.equal(start.eip, 0x200010);
    assert.equal(start.registers.eax, 0x2badb002);
    const info = start.registers.ebx;
    assert.equal(bytes.readUInt32LE(info) & 0x24d, 0x24d);
    assert.equal(bytes.readUInt32LE(info + 4), 639);
    assert.equal(text(bytes.readUInt32LE(info + 16)), 'kernel console=ttyS0');
    assert.equal(bytes.readUInt32LE(info + 20), 2);
    const list = bytes.readUInt32LE(info + 24);
    const first = bytes.readUInt32LE(list);
    assert.equal(first % 4096, 0);
    assert.ok(first >= 0x203000);
    assert.equal(bytes.readUInt32LE(list + 4), first + 10);
    assert.equal(text(bytes.readUInt32LE(list + 8)), 'mod a=1');
    assert.equal(text(bytes.readUInt32LE(list + 24)), 'initrd-20');
    const map = bytes.readUInt32LE(info + 48);
    assert.equal(bytes.readUInt32LE(info + 44), 5 * 24);
    assert.equal(bytes.readUInt32LE(map), 20);
  });
}

test('Multiboot: a flat image goes where its header says', () => {
  const { start, bytes } = load(craftFlatMultiboot());
  assert.equal(start.eip, 0x400100);
  assert.equal(bytes.readUInt32LE(0x400020), 0x1badb002);
  assert.deepEqual([bytes[0x400000], bytes[0x400fff], bytes[0x401000], bytes[0x401fff]], [0x77, 0x77, 0, 0]);
  assert.throws(() => load(craftFlatMultiboot(0x10083)), refusal('bad-kernel', /unknown features/));
});

test('a framebuffer is offered to Multiboot kernels that ask for a video mode', () => {
  const display = { kind: 'framebuffer', base: 0xfd000000, width: 800, height: 600, stride: 3200 } as const;
  const { start, bytes } = load(craftFlatMultiboot(0x10007), { display });
  const info = bytes.subarray(start.registers.ebx);
  assert.notEqual(info.readUInt32LE(0) & (1 << 12), 0);
  assert.equal(info.readUInt32LE(88), 0xfd000000);
  assert.deepEqual([...info.subarray(108, 116)], [32, 1, 16, 8, 8, 8, 0, 8]);
});

test('files that are no kernels are refused', () => {
  assert.throws(() => load(new Uint8Array(0)), refusal('bad-kernel', /boot\/kernel/, /empty/));
  assert.throws(() => load(new Uint8Array(100_000)), refusal('bad-kernel', /neither/));
  assert.throws(() => load(Buffer.from('#!/bin/sh\n')), refusal('bad-kernel', /neither/));
  assert.throws(() => load(craftElf({ bits: 64 })), refusal('bad-kernel', /PVH note/));
  assert.throws(() => load(craftElf({ bits: 64, note: true, loadAddress: 0xa0000 })), refusal('bad-kernel', /0xa0000/));
  assert.throws(
    () => load(craftElf({ bits: 32, note: true, loadAddress: 0x7f000000 })),
    refusal('bad-kernel', /16 MB/),
  );
});

test('truncated and damaged files give an error or a start state, never anything else', () => {
  const random = new Random(11);
  const memory = new FakeMemory(4 << 20);
  const kernels = [
    craftBzImage(),
    craftElf({ bits: 32, note: true }),
    craftElf({ bits: 64, note: true }),
    craftElf({ bits: 32, multiboot: true }),
    craftFlatMultiboot(),
  ];
  const attempt = (kernel: Uint8Array) => {
    try {
      load(kernel, { memory, modules: [ramdisk(10)] });
      return true;
    } catch (error) {
      assert.ok(error instanceof HostError, error instanceof Error ? error.stack : String(error));
      assert.match(error.code, /^bad-(kernel|initrd)$/);
      return false;
    }
  };
  for (const kernel of kernels) {
    for (let length = 0; length < 0x400; length += 13) {
      assert.equal(attempt(kernel.subarray(0, length)), false, `cut to ${length} bytes`);
    }
    assert.equal(attempt(kernel.subarray(0, kernel.length - 64)), false, 'cut at its end');
    for (let round = 0; round < 60; round++) {
      const damaged = kernel.slice();
      for (let i = 0; i < 6; i++) {
        damaged[random.below(random.chance(1, 2) ? 0x400 : damaged.length)] = random.pick([
          0,
          0xff,
          0x7f,
          0x80,
          random.below(256),
        ]);
      }
      attempt(damaged);
    }
  }
});
