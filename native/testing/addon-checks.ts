/**
 * Checks of the addon that run in a process of their own: once as built for use, once as built with sanitizers, which
 * end the process at the first mistake. Prints one line a check and ends with 0 when all hold.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { defined } from '../../engine/base/assert.ts';
import {
  EXIT_A,
  EXIT_B,
  EXIT_BYTES,
  EXIT_C,
  EXIT_COALESCED,
  EXIT_DATA,
  EXIT_INTERRUPTED,
  isKvmError,
  type KvmVcpu,
  loadKvm,
  WAIT_DOORBELLS,
} from '../index.ts';

const availability = loadKvm();
const addon = defined(availability.addon, availability.problem ?? 'the addon');
const KVM_EXIT_IO = 2;
const KVM_EXIT_MMIO = 6;
const LOG_DIRTY = 1;
const SPLIT_IRQCHIP = 121;
const ROUTE_PIN = 1;
const ROUTE_MSI = 2;
const OFFSET = 0x10000;
const RAM = 0x40000;

function check(name: string, body: () => void): void {
  body();
  console.log(`ok: ${name}`);
}

/** A machine with 256 KiB of RAM from 0 on that starts in real mode with `code` at 0x1000. */
function machine(code: readonly number[], flags = 0) {
  const system = new addon.KvmSystem();
  const vm = system.createVm();
  const memory = new Uint8Array(new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true }).buffer);
  vm.borrow(memory);
  memory.set(code, OFFSET + 0x1000);
  vm.setMemory(0, flags, 0, RAM, OFFSET);
  const exits = new Uint8Array(EXIT_BYTES);
  const vcpu = vm.createVcpu(0, exits);
  startAt(vcpu, 0x1000);
  const words = new Uint32Array(exits.buffer, 0, EXIT_DATA / 4);
  const close = () => {
    vcpu.close();
    vm.close();
    system.close();
  };
  return { system, vm, vcpu, memory, exits, words, close };
}

function startAt(vcpu: KvmVcpu, address: number): void {
  const sregs = new Uint8Array(312);
  vcpu.get('sregs', sregs);
  const view = new DataView(sregs.buffer);
  view.setBigUint64(0, 0n, true);
  view.setUint16(12, 0, true);
  vcpu.set('sregs', sregs);
  const regs = new BigUint64Array(18);
  vcpu.get('regs', new Uint8Array(regs.buffer));
  regs[16] = BigInt(address);
  regs[17] = 2n;
  vcpu.set('regs', new Uint8Array(regs.buffer));
}

check('the API is version 12, and capabilities are told', () => {
  const system = new addon.KvmSystem();
  assert.equal(system.apiVersion(), 12);
  assert.ok(system.checkExtension(136) > 0, 'KVM_CAP_IMMEDIATE_EXIT');
  assert.ok(system.supportedCpuid(new Uint32Array(2560)) > 4);
  assert.throws(() => system.supportedCpuid(new Uint32Array(10)), TypeError);
  system.close();
  assert.throws(() => system.apiVersion(), /closed/);
});

check('a failure names the call, the error and its meaning', () => {
  assert.throws(
    () => new addon.KvmSystem('/nowhere/kvm'),
    (error: unknown) => isKvmError(error) && error.call === 'open' && error.code === 'ENOENT' && error.errno === 2,
  );
  const { vm, close } = machine([]);
  assert.throws(
    () => vm.setMemory(1, 0, 0x1000, 0x1000, OFFSET),
    (error: unknown) => isKvmError(error) && error.code === 'EEXIST' && /overlaps/.test(error.message),
  );
  close();
});

check('slots stay inside the borrowed memory', () => {
  const { vm, close } = machine([]);
  assert.throws(() => vm.setMemory(1, 0, 0x100000, 0x200000, 0), TypeError);
  assert.throws(() => vm.setMemory(1, 0, 0x100000, 0x1000, 2 ** 40), TypeError);
  assert.throws(() => vm.setMemory(1, 0, 0x100000, -1, 0), TypeError);
  assert.throws(() => vm.borrow(new Uint8Array(4096)), TypeError);
  close();
  assert.throws(() => vm.setMemory(0, 0, 0, RAM, OFFSET), /closed/);
});

check('structures have one length', () => {
  const { vcpu, close } = machine([]);
  assert.throws(() => vcpu.get('regs', new Uint8Array(8)), TypeError);
  assert.throws(() => vcpu.get('sregs', new Uint8Array(400)), TypeError);
  assert.throws(() => vcpu.get('nothing' as 'regs', new Uint8Array(8)), TypeError);
  close();
  assert.throws(() => vcpu.run(), /closed/);
});

check('every structure is read and written back', () => {
  const { vm, vcpu, close } = machine([]);
  const lengths = { regs: 144, sregs: 312, xsave: 4096, events: 64, debugregs: 128, xcrs: 392 } as const;
  for (const [name, length] of Object.entries(lengths)) {
    const bytes = new Uint8Array(length);
    vcpu.get(name as keyof typeof lengths, bytes);
    vcpu.set(name as keyof typeof lengths, bytes);
  }
  vm.get('clock', new Uint8Array(48));
  assert.ok(vcpu.tscKilohertz() > 0);
  const offset = vcpu.tscOffset();
  if (offset !== undefined) {
    // Some KVMs cannot offset the counter; those leave it alone.
    vcpu.setTscOffset(offset - 1000n);
    assert.ok([offset, offset - 1000n].includes(vcpu.tscOffset() ?? 1n));
  }
  close();
});

check('port output and input', () => {
  // mov al,5; out 80,al; in al,71; out 81,al
  const { vcpu, words, exits, close } = machine([0xb0, 5, 0xe6, 0x80, 0xe4, 0x71, 0xe6, 0x81]);
  assert.equal(vcpu.run(), KVM_EXIT_IO);
  assert.deepEqual([words[EXIT_A], words[EXIT_B], words[EXIT_C], exits[EXIT_DATA]], [1, 1, 0x80, 5]);
  assert.equal(vcpu.run(), KVM_EXIT_IO);
  assert.deepEqual([words[EXIT_A], words[EXIT_B], words[EXIT_C]], [0, 1, 0x71]);
  exits[EXIT_DATA] = 0x42;
  assert.equal(vcpu.run(), KVM_EXIT_IO);
  assert.deepEqual([words[EXIT_C], exits[EXIT_DATA]], [0x81, 0x42]);
  close();
});

check('device memory, finished without running on', () => {
  // mov ax,5000; mov ds,ax; mov al,[7]; mov [8],al
  const { vcpu, words, exits, close } = machine([0xb8, 0, 0x50, 0x8e, 0xd8, 0xa0, 7, 0, 0xa2, 8, 0]);
  assert.equal(vcpu.run(), KVM_EXIT_MMIO);
  assert.deepEqual([words[EXIT_A], words[EXIT_B], words[EXIT_C]], [0, 1, 0x50007]);
  exits[EXIT_DATA] = 0x99;
  assert.equal(vcpu.complete(), EXIT_INTERRUPTED);
  const regs = new BigUint64Array(18);
  vcpu.get('regs', new Uint8Array(regs.buffer));
  assert.equal((regs[0] ?? 0n) & 0xffn, 0x99n);
  assert.equal(regs[16], 0x1008n);
  assert.equal(vcpu.run(), KVM_EXIT_MMIO);
  assert.deepEqual([words[EXIT_A], words[EXIT_C], exits[EXIT_DATA]], [1, 0x50008, 0x99]);
  close();
});

check('written pages are told once', () => {
  // mov byte [3000],1; out 80,al
  const { vm, vcpu, close } = machine([0xc6, 6, 0, 0x30, 1, 0xe6, 0x80], LOG_DIRTY);
  const bits = new Uint8Array(8);
  vcpu.run();
  vm.takeDirty(0, bits, RAM >> 12);
  assert.equal((bits[0] ?? 0) & 8, 8);
  vm.takeDirty(0, bits, RAM >> 12);
  assert.equal((bits[0] ?? 0) & 8, 0);
  assert.throws(() => vm.takeDirty(0, new Uint8Array(7), RAM >> 12), TypeError);
  close();
});

check('a timer and a kick end an endless loop', () => {
  const { vcpu, close } = machine([0xeb, 0xfe]);
  vcpu.armTimer(2_000_000);
  assert.equal(vcpu.run(), EXIT_INTERRUPTED);
  assert.equal(addon.kick(vcpu.kickHandle()), true);
  assert.equal(vcpu.run(), EXIT_INTERRUPTED);
  const handle = vcpu.kickHandle();
  close();
  assert.equal(addon.kick(handle), false);
});

check('a processor in a thread of its own', () => {
  const { vm, vcpu, words, close } = machine([0xe6, 0x80, 0xeb, 0xfc]);
  assert.equal(vcpu.threadId(), 0);
  vcpu.start();
  for (let i = 0; i < 1000; i++) {
    vcpu.resume();
    assert.equal(vm.wait(5_000_000_000), 0);
    assert.equal(vcpu.takeExit(), KVM_EXIT_IO);
    assert.equal(words[EXIT_C], 0x80);
  }
  assert.ok(existsSync(`/proc/self/task/${vcpu.threadId()}`));
  assert.equal(vm.wait(0), -1);
  addon.kick(vm.kickHandle());
  assert.equal(vm.wait(5_000_000_000), -1);
  close();
});

check('doorbells ring without an exit', () => {
  // mov dx,5000; mov ax,3; out dx,ax; mov ax,4; out dx,ax; jmp $
  const { vm, vcpu, words, exits, close } = machine([0xba, 0, 0x50, 0xb8, 3, 0, 0xef, 0xb8, 4, 0, 0xef, 0xeb, 0xfe]);
  vm.setDoorbell(7, 0x5000, 2, true, 3);
  assert.throws(() => vm.setDoorbell(8, 0x5000, 2, true, 3), isKvmError);
  vcpu.start();
  vcpu.resume();
  // The first write rings; the second, of another value, is an exit.
  const heard = new Set<number>();
  while (heard.size < 2) {
    const what = vm.wait(5_000_000_000);
    assert.ok(what === 0 || what === WAIT_DOORBELLS);
    heard.add(what);
    if (what === WAIT_DOORBELLS) {
      const tokens = new Uint32Array(4);
      assert.equal(vm.takeDoorbells(tokens), 1);
      assert.equal(tokens[0], 7);
    }
  }
  assert.equal(vcpu.takeExit(), KVM_EXIT_IO);
  assert.deepEqual([words[EXIT_C], exits[EXIT_DATA]], [0x5000, 4]);
  assert.equal(vm.takeDoorbells(new Uint32Array(4)), 0);
  vm.setDoorbell(7, 0, 0, false, undefined);
  close();
});

check('writes coalesce, and come in their order before the next exit', () => {
  // mov ax,5000; mov ds,ax; mov byte [0],1; mov word [4],0203; out 80,al
  const { vm, vcpu, words, close } = machine([
    ...[0xb8, 0, 0x50, 0x8e, 0xd8, 0xc6, 6, 0, 0, 1],
    ...[0xc7, 6, 4, 0, 3, 2, 0xe6, 0x80],
  ]);
  vm.setCoalescing(0x50000, 0x1000, false, true);
  assert.equal(vcpu.run(), KVM_EXIT_IO);
  assert.equal(words[EXIT_COALESCED], 1);
  const writes = new Uint32Array(6 * 8);
  assert.equal(vcpu.takeCoalesced(writes), 2);
  assert.deepEqual([writes[0], writes[2], (writes[4] ?? 0) & 0xff], [0x50000, 1, 1]);
  assert.deepEqual([writes[6], writes[8], (writes[10] ?? 0) & 0xffff], [0x50004, 2, 0x203]);
  assert.equal(vcpu.takeCoalesced(writes), 0);
  close();
});

check('local APICs inside: messages, interrupts by file, timers that are due', () => {
  const system = new addon.KvmSystem();
  const vm = system.createVm();
  vm.enableCapability(SPLIT_IRQCHIP, 24);
  vm.borrow(new Uint8Array(new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true }).buffer));
  vm.setMemory(0, 0, 0, RAM, OFFSET);
  const vcpu = vm.createVcpu(0, new Uint8Array(EXIT_BYTES));
  const page = new Uint8Array(1024);
  const view = new DataView(page.buffer);
  const waiting = () => {
    vcpu.get('lapic', page);
    return [0x41, 0x42, 0x43].filter(
      (vector) => view.getUint32(0x200 + (vector >> 5) * 16, true) & (1 << (vector & 31)),
    );
  };
  vcpu.get('lapic', page);
  view.setUint32(0xf0, 0x1ff, true);
  // The timer, once, at once.
  view.setUint32(0x320, 0x43, true);
  view.setUint32(0x3e0, 0x0b, true);
  view.setUint32(0x380, 1, true);
  view.setUint32(0x390, 1, true);
  vcpu.set('lapic', page);
  assert.equal(vm.signalMsi(0xfee00000, 0x41, 0), 1);
  // A processor that does not exist.
  assert.equal(vm.signalMsi(0xfee07000, 0x41, 0), 0);
  vm.setGsiRouting(Uint32Array.of(30, ROUTE_MSI, 0xfee00000, 0, 0x42));
  vm.setIrqfd(30, true);
  vm.signalIrqfd(30);
  vcpu.settle();
  assert.deepEqual(waiting(), [0x41, 0x42, 0x43]);
  vm.setIrqfd(30, false);
  assert.throws(() => vm.signalIrqfd(30), TypeError);
  vcpu.close();
  vm.close();
  system.close();
});

check('all interrupt controllers inside: pins by lines, and a timer', () => {
  const system = new addon.KvmSystem();
  const vm = system.createVm();
  vm.createIrqchip();
  assert.throws(() => vm.createIrqchip(), isKvmError);
  vm.createPit(1);
  // Line 24: input 3 of the first 8259; line 25: pin 5 of the I/O APIC.
  vm.setGsiRouting(Uint32Array.of(24, ROUTE_PIN, 0, 3, 0, 25, ROUTE_PIN, 2, 5, 0));
  assert.throws(() => vm.setGsiRouting(Uint32Array.of(24, 9, 0, 0, 0)), TypeError);
  assert.throws(() => vm.setGsiRouting(Uint32Array.of(24, ROUTE_PIN, 0, 8, 0)), isKvmError);
  vm.borrow(new Uint8Array(new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true }).buffer));
  const vcpu = vm.createVcpu(0, new Uint8Array(EXIT_BYTES));
  const chip = new Uint8Array(520);
  const read = (number: number) => {
    chip[0] = number;
    vm.get('irqchip', chip);
    return new DataView(chip.buffer, 8);
  };
  vm.setIrqLine(24, true);
  assert.equal(read(0).getUint8(1), 8, 'the request');
  // The pin is masked: what has come in waits.
  vm.setIrqLine(25, true);
  assert.equal(read(2).getUint32(16, true), 1 << 5);
  vm.setIrqLine(25, false);
  assert.equal(read(2).getUint32(16, true), 0);
  chip[0] = 3;
  assert.throws(() => vm.get('irqchip', chip), isKvmError);
  assert.throws(() => vm.get('irqchip', new Uint8Array(519)), TypeError);
  const pit = new Uint8Array(112);
  vm.get('pit2', pit);
  // Counter 0 in mode 2, with 5 as its count.
  pit[0] = 5;
  pit[13] = 2;
  vm.set('pit2', pit);
  vm.get('pit2', pit);
  assert.deepEqual([pit[0], pit[13]], [5, 2]);
  vcpu.close();
  vm.close();
  system.close();
});

check('closing ends a thread that runs', () => {
  const { vm, vcpu, close } = machine([0xeb, 0xfe]);
  vcpu.start();
  vcpu.resume();
  assert.throws(() => vcpu.run(), /running/);
  assert.equal(vm.wait(1_000_000), -1);
  vcpu.kick();
  assert.equal(vm.wait(5_000_000_000), 0);
  vcpu.resume();
  close();
});

check('two hundred machines leave no thread and no file behind', () => {
  const count = (folder: string) => readdirSync(`/proc/self/${folder}`).length;
  machine([0xf4]).close();
  const [files, threads] = [count('fd'), count('task')];
  for (let i = 0; i < 200; i++) {
    const { vcpu, close } = machine([0xeb, 0xfe]);
    if (i % 2 === 0) {
      vcpu.start();
      vcpu.resume();
    } else {
      vcpu.armTimer(50_000);
      vcpu.run();
    }
    close();
  }
  assert.equal(count('fd'), files);
  // Node may start or end a thread of its own meanwhile.
  assert.ok(count('task') <= threads + 2, `${count('task')} threads, ${threads} before`);
});
