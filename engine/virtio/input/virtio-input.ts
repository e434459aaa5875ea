import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { VirtQueue } from '../queue/virt-queue.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice } from '../virtio-device.ts';
import * as input from './input-layout.ts';

/** What an input device says of itself. */
export interface InputDescription {
  readonly name: string;
  /** Tells the devices of one maker apart. */
  readonly product: number;
  /** Codes of each type of event that it sends, or for lights receives. */
  readonly events: ReadonlyMap<number, readonly number[]>;
  /** Ranges of absolute axes, by their codes; both ends included. */
  readonly axes?: ReadonlyMap<number, { readonly minimum: number; readonly maximum: number }>;
}

export interface InputEvent {
  readonly type: number;
  readonly code: number;
  /** Signed. */
  readonly value: number;
}

/** Reports that wait for a driver which gives no buffers; each is what happened at one moment. */
const MAX_REPORTS = 256;
const MAX_REPORT_EVENTS = 16;
/** The answer about a device has room for this much. */
const MAX_ANSWER = input.INPUT_CONFIG.length - input.INPUT_CONFIG.answer;
const VENDOR = 0x1af4;
const VERSION = 1;
const QUEUE_SIZE = 64;
/** Entries of a status buffer that are looked at. */
const MAX_STATUS_EVENTS = 64;

/**
 * An input device (virtio 1.2, section 5.8): sends reports of events, and takes the state of lights.
 *
 * A driver that gives no buffers loses motion, wheel and presses in the end, but never the release of a key that it
 * believes to be down.
 */
export class VirtioInput implements VirtioDevice {
  readonly type = VIRTIO_ID.input;
  readonly features = 0n;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly config = new Uint8Array(input.INPUT_CONFIG.length);
  readonly #description: InputDescription;
  #driver: ActiveDriver | undefined;
  /** Whole reports that the driver has not got, oldest first. */
  #reports: InputEvent[][] = [];
  /** Buffers for the first of them, until there are enough. */
  #buffers: DescriptorChain[] = [];
  readonly #pressed = new Set<number>();
  /** One bit for each light that is on, by its code. */
  #lights = 0;

  constructor(description: InputDescription) {
    this.#description = description;
  }

  attach(): void {}

  /** The guest has a driver that is ready. */
  get active(): boolean {
    return this.#driver !== undefined;
  }

  /** The driver was given everything. */
  get drained(): boolean {
    return this.#reports.length === 0;
  }

  /** Codes of keys and buttons that the driver takes for pressed, or will once it has what waits. */
  get pressed(): ReadonlySet<number> {
    return this.#pressed;
  }

  /** One bit for each light that is on, by its code (LED_…). */
  get lights(): number {
    return this.#lights;
  }

  /** Sends what happened at one moment, at most 15 events. Without a driver it is lost. */
  send(events: readonly InputEvent[]): void {
    const queue = this.#driver?.queues[input.INPUT_EVENT_QUEUE];
    if (queue === undefined) {
      return;
    }
    const last = this.#reports.at(-1);
    // The first one may be under way already.
    if (last !== undefined && last !== this.#reports[0] && isMotion(last) && isMotion(events)) {
      merge(last, events);
      return;
    }
    const full = this.#reports.length >= MAX_REPORTS;
    const kept = events.slice(0, MAX_REPORT_EVENTS - 1).filter((event) => this.#keeps(event, full));
    if (kept.length > 0) {
      this.#reports.push(kept);
      this.#deliver(queue);
    }
  }

  #keeps({ type, code, value }: InputEvent, full: boolean): boolean {
    if (type !== input.EV_KEY) {
      return !full;
    }
    if (value === 0) {
      return this.#pressed.delete(code);
    }
    if (full) {
      return false;
    }
    this.#pressed.add(code);
    return true;
  }

  /** Hands over reports, each as a whole: an event a buffer, and one that ends the report. */
  #deliver(queue: VirtQueue): void {
    let sent = false;
    for (let report = this.#reports[0]; report !== undefined; report = this.#reports[0]) {
      const wanted = report.length + 1;
      while (this.#buffers.length < wanted) {
        const chain = queue.pop();
        if (chain === undefined) {
          break;
        }
        if (chain.writableBytes < input.INPUT_EVENT_BYTES) {
          queue.push(chain, 0);
          sent = true;
        } else {
          this.#buffers.push(chain);
        }
      }
      if (this.#buffers.length < wanted) {
        break;
      }
      this.#reports.shift();
      const buffers = this.#buffers.splice(0, wanted);
      for (const [index, chain] of buffers.entries()) {
        chain.write(0, encode(report[index] ?? { type: input.EV_SYN, code: 0, value: 0 }));
      }
      queue.pushTogether(
        buffers,
        buffers.map(() => input.INPUT_EVENT_BYTES),
      );
      sent = true;
    }
    if (sent) {
      queue.signal();
    }
  }

  /** The driver asks for something; the answer stands in the configuration at once (section 5.8.5.1). */
  writeConfig(offset: number, data: Uint8Array): void {
    const { select, subselect } = input.INPUT_CONFIG;
    for (const [index, value] of data.entries()) {
      if (offset + index === select || offset + index === subselect) {
        this.config[offset + index] = value;
      }
    }
    this.#describeSelected();
  }

  #describeSelected(): void {
    const { select, subselect, size, answer } = input.INPUT_CONFIG;
    const bytes = this.#answer(this.config[select] ?? 0, this.config[subselect] ?? 0).slice(0, MAX_ANSWER);
    this.config[size] = bytes.length;
    this.config.fill(0, answer);
    this.config.set(bytes, answer);
  }

  #answer(select: number, subselect: number): Uint8Array {
    const { name, product, events, axes } = this.#description;
    switch (select) {
      case input.INPUT_CFG_ID_NAME:
        return subselect === 0 ? new TextEncoder().encode(name) : NOTHING;
      case input.INPUT_CFG_ID_DEVIDS:
        return subselect === 0
          ? new Uint8Array(Uint16Array.of(input.BUS_VIRTUAL, VENDOR, product, VERSION).buffer)
          : NOTHING;
      case input.INPUT_CFG_EV_BITS:
        return bitmap(events.get(subselect) ?? []);
      case input.INPUT_CFG_ABS_INFO: {
        const range = axes?.get(subselect);
        return range === undefined
          ? NOTHING
          : // Smallest and greatest value; no noise, no dead zone, no resolution that would mean anything.
            new Uint8Array(Uint32Array.of(range.minimum, range.maximum, 0, 0, 0).buffer);
      }
      default:
        return NOTHING;
    }
  }

  activate(driver: ActiveDriver): void {
    this.#driver = driver;
  }

  notify(index: number): void {
    const queue = this.#driver?.queues[index];
    if (queue === undefined) {
      return;
    }
    if (index === input.INPUT_EVENT_QUEUE) {
      this.#deliver(queue);
      return;
    }
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      this.#takeStatus(chain);
      queue.push(chain, 0);
    }
    queue.signal();
  }

  #takeStatus(chain: DescriptorChain): void {
    const bytes = chain.bytes(0, MAX_STATUS_EVENTS * input.INPUT_EVENT_BYTES);
    const view = new DataView(bytes.buffer);
    const known = this.#description.events.get(input.EV_LED) ?? [];
    for (let at = 0; at + input.INPUT_EVENT_BYTES <= bytes.length; at += input.INPUT_EVENT_BYTES) {
      const code = view.getUint16(at + 2, true);
      if (view.getUint16(at, true) === input.EV_LED && known.includes(code)) {
        const bit = 1 << code;
        this.#lights = view.getUint32(at + 4, true) === 0 ? this.#lights & ~bit : this.#lights | bit;
      }
    }
  }

  resetQueue(index: number): void {
    if (index === input.INPUT_EVENT_QUEUE) {
      this.#buffers = [];
    }
  }

  reset(): void {
    this.#driver = undefined;
    this.#reports = [];
    this.#buffers = [];
    this.#pressed.clear();
    this.#lights = 0;
    this.config.fill(0);
  }

  save(): StateValue {
    const { select, subselect } = input.INPUT_CONFIG;
    return {
      select: this.config[select] ?? 0,
      subselect: this.config[subselect] ?? 0,
      lights: this.#lights,
      pressed: [...this.#pressed],
      reports: this.#reports.map((report) => report.flatMap(({ type, code, value }) => [type, code, value])),
      buffers: this.#buffers.map((chain) => chain.save()),
    };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const select = reader.u8('select');
    const subselect = reader.u8('subselect');
    const lights = reader.int('lights', 0, 0xffff);
    const pressed = reader.ints('pressed', 0, 0xffff, undefined, 0x300);
    // Releases come on top of full queues.
    const reports = reader.array('reports', undefined, MAX_REPORTS + 0x300).map((_report, index, all) => {
      const numbers = reader
        .nested(`reports[${index}]`, { numbers: all[index] })
        .ints('numbers', -0x80000000, 0x7fffffff, undefined, MAX_REPORT_EVENTS * 3);
      return eventsOf(numbers) ?? reader.refuse(`report ${index} is not one of events`);
    });
    const buffers = reader.objects('buffers', undefined, MAX_REPORT_EVENTS).map((saved) => {
      const chain = driver?.queues[input.INPUT_EVENT_QUEUE]?.adopt(saved);
      return chain ?? saved.refuse('a buffer of a device that sleeps');
    });
    this.#driver = driver;
    this.config[input.INPUT_CONFIG.select] = select;
    this.config[input.INPUT_CONFIG.subselect] = subselect;
    this.#describeSelected();
    this.#lights = lights;
    this.#pressed.clear();
    for (const code of pressed) {
      this.#pressed.add(code);
    }
    this.#reports = reports;
    this.#buffers = buffers;
  }

  describe(): string {
    return `${this.#description.name}: ${this.#reports.length} reports wait, ${this.#pressed.size} keys are down`;
  }

  dispose(): void {
    this.#driver = undefined;
  }
}

const NOTHING = new Uint8Array(0);

function encode({ type, code, value }: InputEvent): Uint8Array {
  const bytes = new Uint8Array(input.INPUT_EVENT_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, type, true);
  view.setUint16(2, code, true);
  view.setInt32(4, value, true);
  return bytes;
}

/** A set of codes, bit 0 of byte 0 being code 0. */
function bitmap(codes: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(codes.length === 0 ? 0 : (Math.max(...codes) >>> 3) + 1);
  for (const code of codes) {
    bytes[code >>> 3] = (bytes[code >>> 3] ?? 0) | (1 << (code & 7));
  }
  return bytes;
}

function isMotion(events: readonly InputEvent[]): boolean {
  return events.every(({ type, code }) => type === input.EV_ABS || (type === input.EV_REL && code <= input.REL_Y));
}

/** Adds motion to motion: distances add up, places are the last ones. */
function merge(report: InputEvent[], events: readonly InputEvent[]): void {
  for (const event of events) {
    const index = report.findIndex(({ type, code }) => type === event.type && code === event.code);
    const before = report[index];
    if (before === undefined) {
      report.push(event);
    } else {
      report[index] = event.type === input.EV_REL ? { ...event, value: clamped(before.value + event.value) } : event;
    }
  }
}

function clamped(value: number): number {
  return Math.max(-0x7fff, Math.min(0x7fff, value));
}

function eventsOf(numbers: readonly number[]): InputEvent[] | undefined {
  const events: InputEvent[] = [];
  for (let at = 0; at + 3 <= numbers.length; at += 3) {
    const [type = 0, code = 0, value = 0] = numbers.slice(at, at + 3);
    if (type < 0 || type > 0xffff || code < 0 || code > 0xffff) {
      return undefined;
    }
    events.push({ type, code, value });
  }
  const count = numbers.length / 3;
  return Number.isInteger(count) && count >= 1 && count < MAX_REPORT_EVENTS ? events : undefined;
}
