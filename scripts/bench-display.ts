import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FrameDecoder } from '../engine/base/frame-packet.ts';
import { assemble } from '../engine/testing/assembler/assembler.ts';
import type { ApiClient, Subscription } from '../main/contract/client.ts';
import { directClient } from '../main/services/direct-client.ts';
import { type LodgeServices, openServices } from '../main/services/lodge-services.ts';
import { nodeProcessHost } from '../main/vms/node-process-host.ts';

/**
 * Measures the way from a guest's screen to a viewer and back from a key: frames and megabytes of a full-screen
 * animation and of a blinking cursor, the processor time of an idle console, and the time from a key to its picture.
 * Everything is real but the network: machine process, services, compressed packets, decoding.
 */

const FLOPPY_BYTES = 1_474_560;
const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 5);
const KEYS = 60;

/** 1024×768 in 32 bits, every pixel new in every frame. */
const ANIMATION = `
  bits 16
  org 0x7c00
  cli
  xor ax, ax
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov sp, 0x7c00
  sti
  mov ax, 0x4f01
  mov cx, 0x144
  mov di, 0x9000
  int 0x10
  mov ax, 0x4f02
  mov bx, 0x4144
  int 0x10
  cli
  lgdt [gdtr]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  jmp 8:flat
  bits 32
flat:
  mov ax, 16
  mov ds, ax
  mov es, ax
  mov ss, ax
  xor ebx, ebx
frame:
  mov edi, [0x9000 + 40]
  mov edx, 768
line:
  mov eax, edx
  add eax, ebx
  mov ah, bl
  shl eax, 3
  mov ecx, 1024
  rep stosd
  dec edx
  jnz line
  add ebx, 5
  jmp frame
  align 8
gdt: dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: dw 23
  dd gdt
`;

/** Text mode; waits for keys and shows each as a line of a new colour. */
const KEYS_GUEST = `
  bits 16
  org 0x7c00
  cli
  xor ax, ax
  mov ds, ax
  mov ss, ax
  mov sp, 0x7c00
  sti
  mov ax, 0xb800
  mov es, ax
  mov bl, 0x10
again:
  xor ah, ah
  int 0x16
  add bl, 0x10
  mov ah, bl
  mov al, 0x41
  mov di, 1600
  mov cx, 80
  cld
  rep stosw
  jmp again
`;

/** Halted for good, with the cursor of text mode blinking. */
const HALTED = `
  bits 16
  org 0x7c00
  cli
  hlt
`;

function floppy(source: string): Uint8Array {
  const image = new Uint8Array(FLOPPY_BYTES);
  image.set(assemble(source).bytes);
  image.set([0x55, 0xaa], 510);
  return image;
}

/** Counts what a viewer receives, and tells of each frame. */
class Viewer {
  frames = 0;
  bytes = 0;
  onFrame: () => void = () => {};
  readonly #subscription: Subscription;

  constructor(client: ApiClient, machine: string) {
    const decoder = new FrameDecoder(
      (frame) => {
        this.frames++;
        this.#subscription.ack(frame.sequence);
        this.onFrame();
      },
      (error) => {
        throw error;
      },
    );
    this.#subscription = client.subscribe(
      'console.frames',
      { machine },
      {
        item: (packet) => {
          this.bytes += packet.byteLength;
          decoder.push(packet);
        },
      },
    );
  }

  /** The next frame. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.onFrame = () => {
        this.onFrame = () => {};
        resolve();
      };
    });
  }
}

const sleep = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** Processor seconds that a process has used, or undefined where /proc does not tell. */
function processorSeconds(pid: number | undefined): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return undefined;
  }
}

async function started(
  services: LodgeServices,
  client: ApiClient,
  folder: string,
  name: string,
  source: string,
): Promise<{ id: string; viewer: Viewer; pid: number | undefined }> {
  const path = join(folder, `${name}.img`);
  writeFileSync(path, floppy(source));
  const { id } = await client.call('machines.create', {
    name,
    guestSystem: 'other',
    memoryMegabytes: 64,
    processors: 1,
    installMedia: { path, kind: 'floppy' },
    hardDisk: { kind: 'none' },
  });
  await client.call('machines.start', { id });
  const viewer = new Viewer(client, id);
  await sleep(6); // the firmware waits for its boot menu key
  return { id, viewer, pid: services.machines.get(id).pid };
}

async function rates(viewer: Viewer): Promise<string> {
  const { frames, bytes } = viewer;
  await sleep(SECONDS);
  const perSecond = (value: number) => value / SECONDS;
  return `${perSecond(viewer.frames - frames).toFixed(1)} frames/s, ${(perSecond(viewer.bytes - bytes) / 1e6).toFixed(3)} MB/s compressed`;
}

/** What a console costs while nothing happens on it. */
async function idle(what: string, pid: number | undefined): Promise<void> {
  const before = processorSeconds(pid);
  await sleep(SECONDS);
  const after = processorSeconds(pid);
  if (before !== undefined && after !== undefined) {
    console.log(`idle, ${what.padEnd(22)} ${(((after - before) / SECONDS) * 100).toFixed(1)} % of a processor`);
  }
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-bench-'));
  const services = openServices({
    dataFolder: join(folder, 'data'),
    what: 'a benchmark',
    processHost: nodeProcessHost(),
    log: () => {},
  });
  try {
    const client = directClient(services.handlers, { shell: 'web', compressFrames: true });
    const animation = await started(services, client, folder, 'animation', ANIMATION);
    console.log(`animation 1024x768       ${await rates(animation.viewer)}`);
    await client.call('machines.powerOff', { id: animation.id });

    const halted = await started(services, client, folder, 'halted', HALTED);
    console.log(`blinking cursor          ${await rates(halted.viewer)}`);
    await idle('halted guest', halted.pid);
    await client.call('machines.powerOff', { id: halted.id });

    const keys = await started(services, client, folder, 'keys', KEYS_GUEST);
    await idle('guest with timer ticks', keys.pid);
    const times: number[] = [];
    for (let i = 0; i < KEYS; i++) {
      await sleep(0.1);
      const shown = keys.viewer.next();
      const start = performance.now();
      void client.call('console.sendKey', { machine: keys.id, code: 'KeyA', down: true });
      void client.call('console.sendKey', { machine: keys.id, code: 'KeyA', down: false });
      await shown;
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    const at = (part: number) => (times[Math.floor(times.length * part)] ?? 0).toFixed(1);
    console.log(`key to picture           median ${at(0.5)} ms, 90 % within ${at(0.9)} ms`);
    await client.call('machines.powerOff', { id: keys.id });
  } finally {
    await services.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
