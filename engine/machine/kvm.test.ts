import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { silentLog } from '../base/log.ts';
import type { StateValue } from '../devices/device.ts';
import { Random } from '../testing/random.ts';
import type { Machine } from './machine.ts';
import { bareMachine } from './testing/bare-machine.ts';
import { firmware } from './testing/firmware.ts';
import { kvmForTests } from './testing/kvm-for-tests.ts';
import { loadMachine, saveMachine } from './testing/machine-state.ts';

/** Counts timer interrupts at 0:500 and rounds of its loop at 0:504; halts between them when `wait` says so. */
const ticker = (wait: string, periodHigh = 0x10) =>
  firmware(`
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    mov word [8 * 4], tick
    mov [8 * 4 + 2], cs
    mov al, 0x11
    out 0x20, al
    mov al, 8
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xfe
    out 0x21, al
    mov al, 0x34
    out 0x43, al
    mov al, 0x00
    out 0x40, al
    mov al, ${periodHigh}
    out 0x40, al
    fninit
    fldpi
    sti
  again:
    inc dword [0x504]
    ${wait}
    jmp again
  tick:
    push ax
    inc dword [0x500]
    mov al, 0x20
    out 0x20, al
    pop ax
    iret
  `);

/** Runs turns until `done`, at most for so many seconds. */
function runUntil(machine: Machine, done: () => boolean, seconds = 20): void {
  const end = performance.now() + seconds * 1000;
  while (!done()) {
    assert.ok(performance.now() < end, 'the guest got there in time');
    const turn = machine.turn();
    assert.ok(turn.kind === 'running' || turn.kind === 'idle', turn.kind);
  }
}

const ticks = (machine: Machine) => machine.memory.readU32(0x500);
const rounds = (machine: Machine) => machine.memory.readU32(0x504);

/** Who has the local APICs while KVM runs the processors. */
const PLACES = ['kernel', 'split', 'machine'] as const;

for (const localApics of PLACES) {
  const where = `KVM, APICs of the ${localApics}`;
  for (const cpus of [1, 2]) {
    for (const [name, wait] of [
      ['busy', 'mov cx, 50\nloop $'],
      ['halting', 'hlt'],
    ] as const) {
      test(`${where}, ${cpus} processor(s): a ${name} guest gets its timer interrupts`, (t) => {
        const kvm = kvmForTests(t, { localApics })?.();
        if (kvm === undefined) {
          return;
        }
        const machine = bareMachine({ bios: ticker(wait), cpus, kvm });
        assert.equal(machine.cpus.kind, 'kvm');
        runUntil(machine, () => ticks(machine) > 30);
        assert.ok(rounds(machine) > 0);
        machine.dispose();
      });
    }
  }

  test(`${where}: a guest is moved to the software processor and back, again and again, and notices nothing`, (t) => {
    const kvm = kvmForTests(t, { localApics })?.();
    if (kvm === undefined) {
      return;
    }
    const machine = bareMachine({ bios: ticker('mov cx, 50\nloop $'), kvm });
    for (let i = 0; i < 20; i++) {
      const [tick, round] = [ticks(machine), rounds(machine)];
      runUntil(machine, () => ticks(machine) > tick && rounds(machine) > round);
      machine.cpus.moveTo(i % 2 === 0 ? 'software' : 'kvm');
      assert.equal(machine.cpus.kind, i % 2 === 0 ? 'software' : 'kvm');
    }
    // π is still on top of the x87 stack.
    const [{ state } = assert.fail()] = machine.cpus.processors;
    assert.equal(state.u64(0x600 + state.i32(0x688) * 16), 0xc90fdaa22168c235n);
    machine.dispose();
  });
}

for (const cpus of [1, 2]) {
  test(`KVM, APICs of the kernel, ${cpus} processor(s): a guest that waits for its APIC's timer lets this thread wait`, (t) => {
    const kvm = kvmForTests(t, { localApics: 'kernel' })?.();
    if (kvm === undefined) {
      return;
    }
    // The APIC's timer, periodic, every 64 ms: counts at 0:500.
    const bios = firmware(`
      cli
      xor ax, ax
      mov ds, ax
      mov ss, ax
      mov sp, 0x7000
      lgdt [cs:gdtr]
      mov eax, cr0
      or al, 1
      mov cr0, eax
      mov ax, 8
      mov es, ax
      and byte [0], 0
      mov eax, cr0
      and al, 0xfe
      mov cr0, eax
      mov word [0x40 * 4], tick
      mov [0x40 * 4 + 2], cs
      mov edi, 0xfee00000
      mov dword [es:edi + 0xf0], 0x1ff
      mov dword [es:edi + 0x3e0], 0x0b
      mov dword [es:edi + 0x320], 0x20040
      mov dword [es:edi + 0x380], 64000000
      sti
    again:
      hlt
      jmp again
    tick:
      inc dword [0x500]
      push edi
      mov edi, 0xfee00000
      mov dword [es:edi + 0xb0], 0
      pop edi
      iret
      align 8
      gdt: dq 0, 0x00cf93000000ffff
      gdtr: dw 15
            dd 0xf0000 + gdt
    `);
    const machine = bareMachine({ bios, cpus, kvm });
    const bell = new Int32Array(new SharedArrayBuffer(4));
    let idle = 0;
    const wait = (count: number) =>
      runUntil(machine, () => {
        const turn = machine.turn();
        if (turn.kind === 'idle') {
          idle++;
          const left = ((turn.until ?? Number.POSITIVE_INFINITY) - machine.clock.now()) / 1e6;
          assert.ok(left <= 65, `the timer wakes this thread, in ${left} ms`);
          Atomics.wait(bell, 0, 0, Math.max(0, left));
        }
        return ticks(machine) >= count;
      });
    wait(5);
    assert.ok(idle >= 3, `${idle} waits`);
    // Its timer goes on in software, and in KVM again.
    for (const kind of ['software', 'kvm'] as const) {
      machine.cpus.moveTo(kind);
      wait(ticks(machine) + 3);
    }
    machine.dispose();
  });
}

for (const cpus of [1, 2]) {
  test(`KVM, APICs of the kernel, ${cpus} processor(s): a guest that waits for the 8254 lets this thread wait`, (t) => {
    const kvm = kvmForTests(t, { localApics: 'kernel' })?.();
    if (kvm === undefined) {
      return;
    }
    // Every 55 ms.
    const machine = bareMachine({ bios: ticker('hlt', 0xff), cpus, kvm });
    const bell = new Int32Array(new SharedArrayBuffer(4));
    let idle = 0;
    runUntil(machine, () => {
      const turn = machine.turn();
      if (turn.kind === 'idle') {
        idle++;
        const left = ((turn.until ?? Number.POSITIVE_INFINITY) - machine.clock.now()) / 1e6;
        assert.ok(left <= 55, `the tick wakes this thread, in ${left} ms`);
        Atomics.wait(bell, 0, 0, Math.max(0, left));
      }
      return ticks(machine) >= 12;
    });
    assert.ok(idle >= 4, `${idle} waits`);
    machine.dispose();
  });
}

test('KVM, APICs of the kernel: they stay there while a refused instruction is carried out in software', (t) => {
  const kvm = kvmForTests(t, { localApics: 'kernel' })?.();
  if (kvm === undefined) {
    return;
  }
  // PADDB xmm0, xmm0, once every 50 ms, which KVMs that emulate cannot.
  const bios = ticker('mov eax, cr4\nor ax, 0x200\nmov cr4, eax\nhlt\ndb 0x66, 0x0f, 0xfc, 0xc0', 0xf0);
  const machine = bareMachine({ bios, kvm });
  runUntil(machine, () => rounds(machine) > 1);
  let recalls = 0;
  runUntil(machine, () => {
    recalls += machine.board.cpuBus.localApics?.lent === true ? 0 : 1;
    return ticks(machine) > 8;
  });
  const { times } = machine.cpus.handedOver;
  machine.dispose();
  if (times === 0) {
    t.skip('this KVM carries everything out itself');
    return;
  }
  assert.ok(times > 3, `${times} refusals`);
  assert.equal(recalls, 0);
});

for (const cpus of [1, 2]) {
  test(`KVM, ${cpus} processor(s): doorbells ring wherever they stand, and nothing of them is lost on a move`, (t) => {
    const kvm = kvmForTests(t)?.();
    if (kvm === undefined) {
      return;
    }
    const bios = firmware(`
      cli
      xor ax, ax
      mov ds, ax
    again:
      mov dx, [0x510]
      mov ax, 3
      out dx, ax
      inc dword [0x504]
      jmp again
    `);
    const machine = bareMachine({ bios, cpus, kvm });
    const { board, memory } = machine;
    const rung = new Map<number, number>();
    const values = new Set<number>();
    const handler = {
      readPort: () => 0,
      writePort: (offset: number, _size: number, value: number) => {
        rung.set(offset, (rung.get(offset) ?? 0) + 1);
        values.add(value);
      },
    };
    const heard = (offset: number) => rung.get(offset) ?? 0;
    board.ports.map(0x5000, 0x100, handler, 'bell');
    const place = (address: number) => {
      memory.ram[0x510] = address & 0xff;
      memory.ram[0x511] = address >> 8;
      return board.doorbells.add({ space: 'port', address, size: 2, value: 3, exact: true });
    };
    const first = place(0x5000);
    runUntil(machine, () => heard(0) > 3 && rounds(machine) > 20);
    // Several writes may ring once.
    assert.ok(heard(0) <= rounds(machine) + 1);
    first.dispose();
    const second = place(0x5010);
    runUntil(machine, () => heard(0x10) > 3);
    machine.cpus.moveTo('software');
    const [before, rounded] = [heard(0x10), rounds(machine)];
    runUntil(machine, () => heard(0x10) > before && rounds(machine) > rounded);
    machine.cpus.moveTo('kvm');
    const again = heard(0x10);
    runUntil(machine, () => heard(0x10) > again);
    second.dispose();
    const last = heard(0x10);
    runUntil(machine, () => heard(0x10) > last);
    assert.deepEqual([...values], [3]);
    machine.dispose();
  });
}

test('KVM: writes to ports that only remember come late, and in time for whatever reads them', (t) => {
  const kvm = kvmForTests(t)?.();
  if (kvm === undefined) {
    return;
  }
  // Writes two registers of the display adapter by index and value, apart and in one, and reads them and port 80h back.
  const bios = firmware(`
    xor ax, ax
    mov ds, ax
    mov al, 0x5a
    out 0x80, al
    mov dx, 0x3c2
    mov al, 1
    out dx, al
    mov dx, 0x3d4
    mov al, 0x0e
    out dx, al
    inc dx
    mov al, 0x12
    out dx, al
    dec dx
    mov ax, 0x340f
    out dx, ax
    mov al, 0x0e
    out dx, al
    inc dx
    in al, dx
    mov [0x500], al
    dec dx
    in al, dx
    mov [0x501], al
    mov al, 0x0f
    out dx, al
    inc dx
    in al, dx
    mov [0x502], al
    in al, 0x80
    mov [0x503], al
    mov al, 0xa5
    out 0x80, al
    mov byte [0x504], 1
    jmp $
  `);
  const machine = bareMachine({ bios, kvm });
  runUntil(machine, () => machine.memory.readU32(0x504) !== 0);
  assert.equal(machine.memory.readU32(0x500), 0x5a340e12);
  machine.dispose();
});

test('KVM that fails when a machine is made: who asked for it is told, others get software', (t) => {
  const open = kvmForTests(t);
  if (open === undefined) {
    return;
  }
  const failing = () => {
    const access = open();
    const createVm = () => {
      throw Object.assign(new Error('KVM_CREATE_VM: ENOMEM'), {
        call: 'KVM_CREATE_VM',
        errno: 12,
        meaning: 'no memory',
      });
    };
    const system = new Proxy(access.system, {
      get(target, key) {
        const value: unknown = Reflect.get(target, key);
        return key === 'createVm' ? createVm : typeof value === 'function' ? value.bind(target) : value;
      },
    });
    return { ...access, system };
  };
  const machine = bareMachine({ bios: firmware('hlt'), virtualTime: false, kvm: failing() });
  assert.equal(machine.cpus.kind, 'software');
  machine.dispose();
  assert.throws(
    () => bareMachine({ bios: firmware('hlt'), virtualTime: false, kvm: { ...failing(), required: true } }),
    {
      code: 'no-kvm',
      message: /KVM_CREATE_VM: ENOMEM/,
    },
  );
});

test('a machine without KVM cannot be moved to it', () => {
  const machine = bareMachine({ bios: ticker('hlt') });
  assert.throws(() => machine.cpus.moveTo('kvm'), { code: 'accelerator-fixed' });
  machine.dispose();
});

for (const [from, to, localApics] of [
  ['kvm', 'software', 'machine'],
  ['software', 'kvm', 'machine'],
  ['kvm', 'software', 'kernel'],
  ['software', 'kvm', 'kernel'],
] as const) {
  test(`a machine saved on ${from} goes on on ${to}, APICs of the ${localApics}`, (t) => {
    const open = kvmForTests(t, { localApics });
    if (open === undefined) {
      return;
    }
    const bios = ticker('mov cx, 50\nloop $');
    const first = bareMachine({ bios, kvm: open() });
    first.cpus.moveTo(from);
    runUntil(first, () => ticks(first) > 10);
    const saved = saveMachine(first);
    first.dispose();
    const second = bareMachine({ bios, kvm: open() });
    second.cpus.moveTo(to);
    loadMachine(second, saved);
    type Processors = { processors: { tsc?: StateValue }[]; hypervisor?: StateValue };
    const again = second.cpus.save() as Processors;
    const before = saved.processors as Processors;
    delete again.hypervisor;
    delete before.hypervisor;
    for (const record of [...again.processors, ...before.processors]) {
      delete record.tsc;
    }
    assert.deepEqual(again, before);
    runUntil(second, () => ticks(second) > 20);
    second.dispose();
  });
}

test('a saved processor that cannot be is refused', (t) => {
  const kvm = kvmForTests(t)?.();
  if (kvm === undefined) {
    return;
  }
  const machine = bareMachine({ bios: ticker('hlt'), kvm });
  const saved = machine.cpus.save() as { processors: Record<string, unknown>[] };
  for (const [field, value] of [
    ['version', 99],
    ['activity', 'asleep'],
    ['rflags', 0xffffffff],
    ['x87', new Uint8Array(3)],
    ['registers', {}],
  ] as const) {
    const broken = { ...saved, processors: [{ ...saved.processors[0], [field]: value }] };
    assert.throws(() => machine.cpus.load(broken as StateValue), { code: 'bad-state' }, field);
  }
  machine.dispose();
});

for (const localApics of PLACES) {
  test(`KVM, APICs of the ${localApics}: a second processor is started by INIT and a start-up message`, (t) => {
    const kvm = kvmForTests(t, { localApics })?.();
    if (kvm === undefined) {
      return;
    }
    const bios = firmware(`
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7000
    lgdt [cs:gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov ax, 8
    mov es, ax
    and byte [0], 0
    mov eax, cr0
    and al, 0xfe
    mov cr0, eax
    ; the other processor's code: counts at 0:508
    mov byte [0x8000], 0xff
    mov byte [0x8001], 0x06
    mov word [0x8002], 0x0508
    mov word [0x8004], 0xfaeb
    mov edi, 0xfee00000
    mov dword [es:edi + 0xf0], 0x1ff
    mov dword [es:edi + 0x310], 0x01000000
    mov dword [es:edi + 0x300], 0x4500
    mov dword [es:edi + 0x300], 0x4608
  again:
    inc dword [0x504]
    mov ax, [0x508]
    mov [0x50a], ax
    jmp again
    align 8
    gdt: dq 0, 0x00cf93000000ffff
    gdtr: dw 15
          dd 0xf0000 + gdt
  `);
    const machine = bareMachine({ bios, cpus: 2, kvm });
    const second = () => machine.memory.readU16(0x508);
    runUntil(machine, () => second() > 100 && rounds(machine) > 100);
    // Both go on after a change of processors, there and back.
    for (const kind of ['software', 'kvm'] as const) {
      machine.cpus.moveTo(kind);
      const [one, two] = [rounds(machine), second()];
      runUntil(machine, () => second() !== two && rounds(machine) > one);
    }
    machine.dispose();
  });
}

test('KVM: a guest that does nonsense never brings the engine down', (t) => {
  const open = kvmForTests(t);
  if (open === undefined) {
    return;
  }
  for (let seed = 1; seed <= 12; seed++) {
    const random = new Random(seed);
    const modes = [
      '',
      'mov eax, cr0\nor al, 1\nmov cr0, eax\njmp dword 0x8:0x100000',
      // Paging with tables of random numbers.
      'mov eax, 0x20000\nmov cr3, eax\nmov eax, cr0\nor eax, 0x80000001\nmov cr0, eax',
    ];
    const bios = firmware(`
      cli
      xor ax, ax
      mov ds, ax
      mov es, ax
      mov ss, ax
      mov sp, 0x7000
      lgdt [cs:gdtr]
      ${modes[seed % 3]}
      jmp 0x1000:0
      align 8
      gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
      gdtr: dw 23
            dd 0xf0000 + gdt
    `);
    const machine = bareMachine({ bios, cpus: 1 + (seed % 2), kvm: open(), log: silentLog });
    const { ram } = machine.memory;
    for (let i = 0; i < 0x200000; i += 4) {
      const value = random.u32();
      ram[i] = value;
      ram[i + 1] = value >>> 8;
      ram[i + 2] = value >>> 16;
      // Ports, string I/O, RDMSR and WRMSR, control registers among the rest.
      ram[i + 3] = random.chance(1, 4)
        ? random.pick([0xec, 0xed, 0xee, 0xef, 0x6c, 0x6e, 0x0f, 0xf3, 0x30, 0x32, 0x22])
        : value >>> 24;
    }
    for (let turn = 0; turn < 40; turn++) {
      const result = machine.turn();
      if (result.kind !== 'running' && result.kind !== 'idle') {
        machine.reset();
      }
    }
    machine.dispose();
  }
});

test('KVM: machines that came and went leave no thread and no file', (t) => {
  const open = kvmForTests(t);
  if (open === undefined) {
    return;
  }
  const count = (folder: string) => readdirSync(`/proc/self/${folder}`).length;
  const one = (cpus: number) => {
    const machine = bareMachine({ bios: ticker('hlt'), cpus, kvm: open() });
    machine.turn();
    machine.dispose();
  };
  one(1);
  one(2);
  const [files, threads] = [count('fd'), count('task')];
  for (let i = 0; i < 20; i++) {
    one(1 + (i % 2));
  }
  assert.equal(count('fd'), files);
  assert.ok(count('task') <= threads + 1, `${count('task')} threads, ${threads} before`);
});
