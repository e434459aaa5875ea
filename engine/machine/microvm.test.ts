import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../base/log.ts';
import { validateMachineConfig } from '../config/validate-machine-config.ts';
import type { KvmAccess } from '../cpu/kvm/kvm-access.ts';
import { assemble } from '../testing/assembler/assembler.ts';
import { COMMAND_LINE_ADDRESS } from './boot/boot-memory.ts';
import { craftElf } from './boot/crafted-kernels.ts';
import { Machine, type Turn } from './machine.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';

const LOAD = 0x200000;
/** Where the crafted kernel is entered, in memory and in its file. */
const ENTRY = LOAD + 0x20;
const ENTRY_IN_FILE = 0x1020;

/** A microVM whose kernel is `source`: 32-bit code with flat segments. */
function microvm(source: string, append = '', serial: (byte: number) => void = () => {}, kvm?: KvmAccess): Machine {
  return directMachine('microvm', source, append, serial, kvm);
}

/** A machine without firmware, as `microvm`. */
function directMachine(
  board: 'pc' | 'microvm',
  source: string,
  append = '',
  serial: (byte: number) => void = () => {},
  kvm?: KvmAccess,
): Machine {
  const kernel = craftElf({ bits: 32, note: true, loadAddress: LOAD });
  kernel.set(assemble(`bits 32\norg ${ENTRY}\n${source}`).bytes, ENTRY_IN_FILE);
  const config = validateMachineConfig({
    board,
    memoryMegabytes: 32,
    virtualTime: kvm === undefined,
    boot: { kernel: '/kernel', append },
  });
  return new Machine({
    config,
    firmware: undefined,
    vgaBios: new Uint8Array(),
    kernel: { kernel: { name: 'kernel', bytes: kernel }, modules: [], commandLine: append },
    openMedia: () => ({ disks: [], floppy: undefined }),
    serialOutput: { write: serial },
    consolePorts: [{ name: 'console', console: true, write: (bytes) => bytes.length }],
    log: silentLog,
    kvm,
  });
}

function run(machine: Machine): Turn {
  for (let i = 0; i < 1000; i++) {
    const turn = machine.turn();
    if (turn.kind !== 'running' && turn.kind !== 'idle') {
      return turn;
    }
  }
  assert.fail('the guest goes on and on');
}

const OFF = 'mov dx, 0x600\nmov al, 0x34\nout dx, al\nhlt';

test('a microVM: serial port, virtio devices in windows of memory, no PCI, and the sleep register switches it off', () => {
  let said = '';
  const machine = microvm(
    `
    mov esi, 0xfeb00000
    mov edi, 0x100000
    mov ecx, 4
  next:
    mov eax, [esi]
    mov [edi], eax
    mov eax, [esi + 8]
    mov [edi + 4], eax
    add esi, 0x1000
    add edi, 8
    loop next
    mov dx, 0xcf8
    mov eax, 0x80000000
    out dx, eax
    mov dx, 0xcfc
    in eax, dx
    mov [edi], eax
    mov dx, 0x3f8
    mov al, 'X'
    out dx, al
    ${OFF}
  `,
    '',
    (byte) => {
      said += String.fromCharCode(byte);
    },
  );
  assert.equal(run(machine).kind, 'powered-off');
  assert.equal(said, 'X');
  const word = (at: number) => machine.memory.readU32(0x100000 + at);
  const found = [0, 8, 16, 24].map((at) => [word(at), word(at + 4)]);
  // Entropy, balloon, console, and no fourth device.
  assert.deepEqual(found, [
    [0x74726976, 4],
    [0x74726976, 5],
    [0x74726976, 3],
    [0xffffffff, 0xffffffff],
  ]);
  assert.equal(word(32), 0xffffffff, 'no PCI');
  machine.dispose();
});

test('a microVM on KVM: memory all of a piece, serial port, device memory, power off', (t) => {
  const kvm = kvmForTests(t)?.();
  if (kvm === undefined) {
    return;
  }
  let said = '';
  const source = `
    mov dword [0xb8000], 0x12345678
    mov dword [0xe0000], 0x9abcdef0
    mov eax, [0xb8000]
    add eax, [0xe0000]
    mov [0x100000], eax
    mov eax, [0xfeb02000]
    mov [0x100004], eax
    mov dx, 0x3f8
    mov al, 'K'
    out dx, al
    ${OFF}
  `;
  const machine = microvm(source, '', (byte) => (said += String.fromCharCode(byte)), kvm);
  assert.equal(run(machine).kind, 'powered-off');
  assert.equal(said, 'K');
  assert.equal(machine.memory.readU32(0x100000), 0xacf13568);
  assert.equal(machine.memory.readU32(0x100004), 0x74726976);
  machine.dispose();
});

test('a microVM restarts by its reset register, and its power button is an interrupt', () => {
  const machine = microvm('mov dx, 0x602\nmov al, 1\nout dx, al\nhlt');
  assert.equal(run(machine).kind, 'reset');
  machine.reset();
  assert.equal(run(machine).kind, 'reset');
  const ioapic = machine.board.devices.find(({ id }) => id === 'ioapic');
  const before = JSON.stringify(ioapic?.save());
  machine.board.power.pressPowerButton();
  machine.board.power.pressPowerButton();
  // Masked as it is after a reset, the edge is not kept.
  assert.equal(JSON.stringify(ioapic?.save()), before);
  machine.dispose();
});

/**
 * What Linux does to restart a machine with reduced hardware and without EFI: processor 0 goes back to real mode and
 * jumps to where firmware has its entry.
 */
const TO_FIRMWARE = `
    lgdt [gdtr]
    jmp 8:real16 - ${LOAD}
  bits 16
  real16:
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    jmp 0xf000:0xfff0
  align 8, db 0
  gdt: dq 0, 0x00009b200000ffff
  gdtr: dw 15
    dd gdt
`;

for (const board of ['microvm', 'pc'] as const) {
  test(`a ${board} without firmware restarts when its guest jumps to the firmware's entry`, () => {
    const machine = directMachine(board, TO_FIRMWARE);
    assert.equal(run(machine).kind, 'reset');
    // The guest may write there; a restart brings it back.
    machine.memory.write(0xffff0, new Uint8Array(16));
    machine.reset();
    assert.equal(run(machine).kind, 'reset');
    machine.dispose();
  });
}

test('ACPI describes reduced hardware, with every virtio device', () => {
  const machine = microvm(OFF);
  const { ram } = machine.memory;
  const memory = Buffer.from(ram.buffer, ram.byteOffset, ram.byteLength);
  const rsdp = memory.indexOf('RSD PTR ', 0xf0000, 'latin1');
  const xsdt = Number(memory.readBigUInt64LE(rsdp + 24));
  const tables = new Map<string, Buffer>();
  const table = (at: number) => memory.subarray(at, at + memory.readUInt32LE(at + 4));
  for (let at = xsdt + 36; at < xsdt + memory.readUInt32LE(xsdt + 4); at += 8) {
    const found = table(Number(memory.readBigUInt64LE(at)));
    tables.set(found.toString('latin1', 0, 4), found);
  }
  assert.deepEqual([...tables.keys()], ['FACP', 'APIC']);
  const fadt = tables.get('FACP') ?? Buffer.alloc(0);
  assert.equal(fadt.length, 276);
  assert.equal(fadt.readUInt32LE(112) & (1 << 20), 1 << 20, 'HW_REDUCED_ACPI');
  assert.deepEqual(
    [120, 248, 260].map((at) => fadt.readUInt32LE(at)),
    [0x602, 0x600, 0x601],
  );
  const dsdt = table(Number(fadt.readBigUInt64LE(140)));
  for (const sum of [fadt, dsdt, ...tables.values()]) {
    assert.equal(
      sum.reduce((total, byte) => (total + byte) & 0xff, 0),
      0,
      'checksum',
    );
  }
  const text = dsdt.toString('latin1');
  assert.equal(text.split('LNRO0005').length - 1, 3);
  assert.ok(text.includes('ACPI0013') && !text.includes('PCI0'));
  machine.dispose();
});

test('without ACPI the devices are named on the kernel command line, and their interrupts are levels', () => {
  const machine = microvm(OFF, 'console=ttyS0 acpi=off');
  const bytes = new Uint8Array(300);
  machine.memory.read(COMMAND_LINE_ADDRESS, bytes);
  const line = Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString();
  assert.equal(
    line,
    'console=ttyS0 acpi=off virtio_mmio.device=4K@0xfeb00000:5 virtio_mmio.device=4K@0xfeb01000:6 ' +
      'virtio_mmio.device=4K@0xfeb02000:7',
  );
  const levels = machine.board.cpuBus.readPort(0x4d0, 1);
  assert.equal(levels, 0xe0);
  machine.dispose();
  const named = microvm(OFF, 'acpi=offline');
  named.memory.read(COMMAND_LINE_ADDRESS, bytes);
  assert.match(Buffer.from(bytes).toString(), /^acpi=offline\0/);
  named.dispose();
});
