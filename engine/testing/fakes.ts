import type { BlockBackend, BlockError, BlockRequest } from '../backends/block/block-backend.ts';
import type { InterruptLine, MsiSink } from '../irq/line.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';

/** An interrupt line that remembers its level and counts rising edges. */
export class FakeLine implements InterruptLine {
  asserted = false;
  edges = 0;

  set(asserted: boolean): void {
    if (asserted && !this.asserted) {
      this.edges++;
    }
    this.asserted = asserted;
  }
}

export class FakeMsiSink implements MsiSink {
  readonly sent: { address: number; data: number }[] = [];

  send(address: number, data: number): void {
    this.sent.push({ address, data });
  }
}

/** Guest memory in a plain array, with the same out-of-range behaviour as the real one. */
export class FakeMemory implements GuestMemory {
  readonly sizeBytes: number;
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(sizeBytes = 1 << 20) {
    this.sizeBytes = sizeBytes;
    this.bytes = new Uint8Array(sizeBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  read(gpa: number, into: Uint8Array): void {
    into.fill(0xff);
    if (gpa < this.sizeBytes) {
      into.set(this.bytes.subarray(gpa, Math.min(this.sizeBytes, gpa + into.length)));
    }
  }

  write(gpa: number, from: Uint8Array): void {
    if (gpa < this.sizeBytes) {
      this.bytes.set(from.subarray(0, Math.max(0, Math.min(from.length, this.sizeBytes - gpa))), gpa);
    }
  }

  readU8(gpa: number): number {
    return this.bytes[gpa] ?? 0xff;
  }

  readU16(gpa: number): number {
    return gpa + 2 <= this.sizeBytes ? this.#view.getUint16(gpa, true) : 0xffff;
  }

  readU32(gpa: number): number {
    return gpa + 4 <= this.sizeBytes ? this.#view.getUint32(gpa, true) : 0xffffffff;
  }

  writeU8(gpa: number, value: number): void {
    this.write(gpa, Uint8Array.of(value));
  }

  writeU16(gpa: number, value: number): void {
    this.write(gpa, Uint8Array.of(value, value >>> 8));
  }

  writeU32(gpa: number, value: number): void {
    this.write(gpa, Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24));
  }
}

/** A disk in memory. Requests complete when `complete` is called. */
export class FakeDisk implements BlockBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly bytes: Uint8Array;
  /** Requests not completed yet, oldest first. */
  readonly pending: { request: BlockRequest; done: (error?: BlockError) => void }[] = [];
  /** When set, the next completions fail with it. */
  failure: BlockError | undefined;
  disposed = false;

  constructor(sizeBytes: number, readOnly = false) {
    this.size = sizeBytes;
    this.readOnly = readOnly;
    this.bytes = new Uint8Array(sizeBytes);
  }

  submit(request: BlockRequest, done: (error?: BlockError) => void): void {
    this.pending.push({ request, done });
  }

  /** Carries out and completes up to `count` pending requests. */
  complete(count = Number.POSITIVE_INFINITY): void {
    for (let i = 0; i < count; i++) {
      const entry = this.pending.shift();
      if (entry === undefined) {
        return;
      }
      const { request, done } = entry;
      if (this.failure !== undefined) {
        done(this.failure);
        continue;
      }
      if (request.kind === 'read') {
        request.buffer.set(this.bytes.subarray(request.offset, request.offset + request.buffer.length));
      } else if (request.kind === 'write') {
        if (this.readOnly) {
          done({ code: 'read-only', message: 'the disk is read-only' });
          continue;
        }
        this.bytes.set(request.buffer, request.offset);
      } else if (request.kind === 'write-zeroes') {
        this.bytes.fill(0, request.offset, request.offset + request.length);
      }
      done();
    }
  }

  dispose(): void {
    this.disposed = true;
    this.pending.length = 0;
  }
}
