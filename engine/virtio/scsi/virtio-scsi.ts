import type { BlockError } from '../../backends/block/block-backend.ts';
import { Staging } from '../../base/staging.ts';
import type { Alarm, Clock } from '../../clock/clock.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { BlockLane } from '../block-lane.ts';
import { transferBlocks } from '../block-transfer.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice } from '../virtio-device.ts';
import { ASC_LUN_NOT_SUPPORTED, type ScsiTask, SENSE_ILLEGAL_REQUEST, senseData } from './scsi-task.ts';
import type { ScsiUnit } from './scsi-unit.ts';

/** Feature bits (virtio 1.2, section 5.6.3). */
const F_HOTPLUG = 1n << 1n;
const F_CHANGE = 1n << 2n;

const CONTROL_QUEUE = 0;
const EVENT_QUEUE = 1;
const FIRST_REQUEST_QUEUE = 2;
const REQUEST_QUEUE_SIZE = 256;
const SMALL_QUEUE_SIZE = 64;
const STAGING_BYTES = 4 << 20;

/** Offsets in the configuration (section 5.6.4). */
const CONFIG_BYTES = 36;
const CONFIG_SENSE_SIZE = 20;
const CONFIG_CDB_SIZE = 24;
const DEFAULT_SENSE_BYTES = 96;
const DEFAULT_CDB_BYTES = 32;
const MAX_TARGET = 255;
const MAX_LUN = 16383;

/** A request begins with LUN, tag and three bytes of attributes; then comes the command (section 5.6.6.1). */
const REQUEST_HEADER_BYTES = 19;
/** An answer begins with sense length, residue, qualifier, status and response; then comes the sense data. */
const RESPONSE_HEADER_BYTES = 12;
const STATUS_GOOD = 0x00;
const STATUS_CHECK_CONDITION = 0x02;
const RESPONSE_OK = 0;
const RESPONSE_OVERRUN = 1;
const RESPONSE_ABORTED = 2;
const RESPONSE_BAD_TARGET = 3;
const RESPONSE_RESET = 4;

/** Requests on the control queue, task management functions and their answers (section 5.6.6.2). */
const CONTROL_TMF = 0;
const CONTROL_AN_QUERY = 1;
const CONTROL_AN_SUBSCRIBE = 2;
const TMF_ABORT_TASK = 0;
const TMF_ABORT_TASK_SET = 1;
const TMF_CLEAR_TASK_SET = 3;
const TMF_TARGET_RESET = 4;
const TMF_UNIT_RESET = 5;
const TMF_QUERY_TASK = 6;
const TMF_QUERY_TASK_SET = 7;
const FUNCTION_COMPLETE = 0;
const FUNCTION_SUCCEEDED = 10;
const FUNCTION_REJECTED = 11;
const INCORRECT_LUN = 12;

/** Events (section 5.6.6.3). */
const EVENT_BYTES = 16;
const EVENT_TRANSPORT_RESET = 1;
const EVENT_PARAMETER_CHANGE = 3;
const EVENTS_MISSED = 0x80000000;
const REASON_RESCAN = 1;
const REASON_REMOVED = 2;
/** Events that wait for a buffer; beyond that the driver is told that it missed some. */
const MAX_WAITING_EVENTS = 16;

const REPORT_LUNS = 0xa0;
const INQUIRY = 0x12;

export interface VirtioScsiConfig {
  /** Queues for requests. */
  readonly queues: number;
}

interface Request {
  readonly queue: number;
  readonly chain: DescriptorChain;
  /** Known once the request was looked at. */
  tag: bigint;
  target: number;
  lun: number;
}

interface ScsiEvent {
  readonly kind: number;
  readonly target: number;
  readonly lun: number;
  readonly reason: number;
}

/** The SCSI host adapter (virtio 1.2, section 5.6) with the logical units of its targets. */
export class VirtioScsi implements VirtioDevice {
  readonly type = VIRTIO_ID.scsi;
  readonly features = F_HOTPLUG | F_CHANGE;
  readonly queueSizes: readonly number[];
  readonly config = new Uint8Array(CONFIG_BYTES);
  readonly #view = new DataView(this.config.buffer);
  readonly #staging = new Staging(STAGING_BYTES);
  readonly #restart: Alarm;
  /** By target and LUN. */
  readonly #units = new Map<number, Map<number, ScsiUnit>>();
  readonly #requests = new Set<Request>();
  #events: ScsiEvent[] = [];
  #missedEvents = false;
  #driver: ActiveDriver | undefined;

  constructor(clock: Clock, { queues }: VirtioScsiConfig) {
    const requestQueues = Array.from({ length: queues }, () => REQUEST_QUEUE_SIZE);
    this.queueSizes = [SMALL_QUEUE_SIZE, SMALL_QUEUE_SIZE, ...requestQueues];
    const view = this.#view;
    view.setUint32(0, queues, true);
    view.setUint32(4, REQUEST_QUEUE_SIZE - 2, true); // segments
    view.setUint32(8, 0xffff, true); // sectors of a request
    view.setUint32(12, 128, true); // commands for each unit
    view.setUint32(16, EVENT_BYTES, true);
    view.setUint16(28, 0, true); // channels
    view.setUint16(30, MAX_TARGET, true);
    view.setUint32(32, MAX_LUN, true);
    this.#setSizes();
    this.#restart = clock.createAlarm(() => {
      for (const request of [...this.#requests]) {
        this.#start(request);
      }
    });
  }

  #setSizes(): void {
    this.#view.setUint32(CONFIG_SENSE_SIZE, DEFAULT_SENSE_BYTES, true);
    this.#view.setUint32(CONFIG_CDB_SIZE, DEFAULT_CDB_BYTES, true);
  }

  get #senseBytes(): number {
    return this.#view.getUint32(CONFIG_SENSE_SIZE, true);
  }

  get #cdbBytes(): number {
    return this.#view.getUint32(CONFIG_CDB_SIZE, true);
  }

  attach(): void {}

  /** The driver chooses how long commands and sense data are. */
  writeConfig(offset: number, data: Uint8Array): void {
    if (data.length === 4 && (offset === CONFIG_SENSE_SIZE || offset === CONFIG_CDB_SIZE)) {
      const value = new DataView(data.buffer).getUint32(0, true);
      if (value >= 1 && value <= 255) {
        this.#view.setUint32(offset, value, true);
      }
    }
  }

  // ---- units

  /** Attaches a unit; a running guest hears of it. Target 0–255, LUN 0–16383. */
  plug(target: number, lun: number, unit: ScsiUnit): void {
    let luns = this.#units.get(target);
    if (luns === undefined) {
      luns = new Map();
      this.#units.set(target, luns);
    }
    luns.set(lun, unit);
    this.#event({ kind: EVENT_TRANSPORT_RESET, target, lun, reason: REASON_RESCAN });
  }

  /** Takes a unit away; a running guest hears of it, and its requests end. */
  unplug(target: number, lun: number): void {
    const luns = this.#units.get(target);
    if (luns?.delete(lun)) {
      if (luns.size === 0) {
        this.#units.delete(target);
      }
      this.#abort((request) => request.target === target && request.lun === lun, RESPONSE_BAD_TARGET);
      this.#event({ kind: EVENT_TRANSPORT_RESET, target, lun, reason: REASON_REMOVED });
    }
  }

  unit(target: number, lun: number): ScsiUnit | undefined {
    return this.#units.get(target)?.get(lun);
  }

  /** Tells the guest that something about a unit has changed: an additional sense code, qualifier in the low byte. */
  changed(target: number, lun: number, asc: number): void {
    this.#event({ kind: EVENT_PARAMETER_CHANGE, target, lun, reason: (asc >> 8) | ((asc & 0xff) << 8) });
  }

  #event(event: ScsiEvent): void {
    const needed = event.kind === EVENT_PARAMETER_CHANGE ? F_CHANGE : F_HOTPLUG;
    if (this.#driver === undefined || (this.#driver.features & needed) === 0n) {
      return;
    }
    if (this.#events.length >= MAX_WAITING_EVENTS) {
      this.#missedEvents = true;
    } else {
      this.#events.push(event);
    }
    this.#sendEvents();
  }

  #sendEvents(): void {
    const queue = this.#driver?.queues[EVENT_QUEUE];
    while (queue !== undefined && (this.#events.length > 0 || this.#missedEvents)) {
      const chain = queue.pop();
      if (chain === undefined) {
        break;
      }
      const event = this.#events.shift() ?? { kind: 0, target: 0, lun: 0, reason: 0 };
      const bytes = new Uint8Array(EVENT_BYTES);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, (event.kind | (this.#missedEvents ? EVENTS_MISSED : 0)) >>> 0, true);
      writeLun(bytes.subarray(4, 12), event.target, event.lun);
      view.setUint32(12, event.reason, true);
      this.#missedEvents = false;
      queue.push(chain, chain.write(0, bytes));
    }
    queue?.signal();
  }

  // ---- requests

  activate(driver: ActiveDriver): void {
    this.#driver = driver;
  }

  notify(index: number): void {
    const queue = this.#driver?.queues[index];
    if (queue === undefined) {
      return;
    }
    if (index === EVENT_QUEUE) {
      this.#sendEvents();
      return;
    }
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (index === CONTROL_QUEUE) {
        queue.push(chain, this.#control(chain));
      } else {
        const request = { queue: index, chain, tag: 0n, target: -1, lun: -1 };
        this.#requests.add(request);
        this.#start(request);
      }
    }
    queue.signal();
  }

  #start(request: Request): void {
    const { chain } = request;
    const headerBytes = REQUEST_HEADER_BYTES + this.#cdbBytes;
    const responseBytes = RESPONSE_HEADER_BYTES + this.#senseBytes;
    if (chain.readableBytes < headerBytes || chain.writableBytes < responseBytes) {
      this.#requests.delete(request);
      this.#driver?.queues[request.queue]?.push(chain, 0);
      return;
    }
    const header = chain.bytes(0, headerBytes);
    const view = new DataView(header.buffer);
    request.tag = view.getBigUint64(8, true);
    const place = readLun(header);
    const luns = place === undefined ? undefined : this.#units.get(place.target);
    if (place === undefined || luns === undefined) {
      this.#answer(request, RESPONSE_BAD_TARGET, STATUS_GOOD, 0, 0);
      return;
    }
    request.target = place.target;
    request.lun = place.lun;
    const cdb = new Uint8Array(32);
    cdb.set(header.subarray(REQUEST_HEADER_BYTES, REQUEST_HEADER_BYTES + 32));
    const task = this.#task(request, new DataView(cdb.buffer), headerBytes, responseBytes);
    const unit = luns.get(place.lun);
    if (cdb[0] === REPORT_LUNS) {
      task.reply(lunList([...luns.keys()]), task.cdb.getUint32(6));
    } else if (unit !== undefined) {
      unit.execute(task);
    } else if (cdb[0] === INQUIRY) {
      // A target answers for units that it does not have (SPC-4, 6.4.2).
      const bytes = new Uint8Array(36);
      bytes[0] = 0x7f;
      bytes[4] = 31;
      task.reply(bytes, task.cdb.getUint16(3));
    } else {
      task.check(SENSE_ILLEGAL_REQUEST, ASC_LUN_NOT_SUPPORTED);
    }
  }

  #task(request: Request, cdb: DataView, headerBytes: number, responseBytes: number): ScsiTask {
    const { chain } = request;
    const outBytes = chain.readableBytes - headerBytes;
    const inBytes = chain.writableBytes - responseBytes;
    const expected = Math.max(outBytes, inBytes);
    const alive = () => this.#alive(request);
    return {
      cdb,
      outBytes,
      inBytes,
      readOut: (offset, into) => {
        chain.read(headerBytes + offset, into);
      },
      reply: (bytes, allocated) => {
        const count = Math.min(bytes.length, allocated, inBytes);
        chain.write(responseBytes, bytes.subarray(0, count));
        this.#answer(request, RESPONSE_OK, STATUS_GOOD, expected - count, responseBytes + count);
      },
      good: (bytes = 0) => {
        const written = inBytes > 0 ? bytes : 0;
        this.#answer(request, RESPONSE_OK, STATUS_GOOD, Math.max(0, expected - bytes), responseBytes + written);
      },
      check: (key, asc) => {
        this.#answer(request, RESPONSE_OK, STATUS_CHECK_CONDITION, expected, responseBytes, senseData(key, asc));
      },
      overrun: () => this.#answer(request, RESPONSE_OVERRUN, STATUS_GOOD, 0, responseBytes),
      transfer: (
        kind: 'read' | 'write',
        lane: BlockLane,
        offset: number,
        length: number,
        done: (error: BlockError | undefined) => void,
        fill?: (bytes: Uint8Array, at: number) => void,
      ) => {
        const copy =
          fill ??
          ((bytes: Uint8Array, at: number) => {
            if (kind === 'read') {
              chain.write(responseBytes + at, bytes);
            } else {
              chain.read(headerBytes + at, bytes);
            }
          });
        transferBlocks(lane, this.#staging, { kind, offset, length, copy, alive, done });
      },
      alive,
    };
  }

  #alive(request: Request): boolean {
    return this.#requests.has(request) && this.#driver?.queues[request.queue]?.holds(request.chain) === true;
  }

  #answer(
    request: Request,
    response: number,
    status: number,
    residue: number,
    written: number,
    sense: Uint8Array = NO_SENSE,
  ): void {
    if (!this.#alive(request)) {
      return;
    }
    this.#requests.delete(request);
    const senseBytes = this.#senseBytes;
    const bytes = new Uint8Array(RESPONSE_HEADER_BYTES + senseBytes);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, Math.min(sense.length, senseBytes), true);
    view.setUint32(4, residue, true);
    bytes[10] = status;
    bytes[11] = response;
    bytes.set(sense.subarray(0, senseBytes), RESPONSE_HEADER_BYTES);
    const { chain } = request;
    chain.write(0, bytes);
    this.#driver?.queues[request.queue]?.complete(chain, Math.max(written, bytes.length));
  }

  /** Ends requests at once; what the host still does for them comes before anything new (the fence). */
  #abort(which: (request: Request) => boolean, response: number): number {
    let count = 0;
    for (const request of [...this.#requests]) {
      if (which(request)) {
        this.unit(request.target, request.lun)?.fence();
        this.#answer(request, response, STATUS_GOOD, 0, 0);
        count++;
      }
    }
    return count;
  }

  // ---- task management

  #control(chain: DescriptorChain): number {
    const request = chain.bytes(0, 24);
    if (request.length < 4) {
      return 0;
    }
    const view = new DataView(request.buffer);
    switch (view.getUint32(0, true)) {
      case CONTROL_TMF: {
        const answer = request.length < 24 ? FUNCTION_REJECTED : this.#manage(request);
        return chain.write(0, Uint8Array.of(answer));
      }
      case CONTROL_AN_QUERY:
      case CONTROL_AN_SUBSCRIBE:
        // No asynchronous notifications are offered: none is the answer.
        return chain.write(0, Uint8Array.of(0, 0, 0, 0, RESPONSE_OK));
      default:
        return 0;
    }
  }

  #manage(request: Uint8Array): number {
    const view = new DataView(request.buffer);
    const place = readLun(request.subarray(8, 16));
    const luns = place === undefined ? undefined : this.#units.get(place.target);
    if (place === undefined || luns === undefined) {
      return RESPONSE_BAD_TARGET;
    }
    const tag = view.getBigUint64(16, true);
    const { target, lun } = place;
    const inUnit = (task: Request) => task.target === target && task.lun === lun;
    const unit = luns.get(lun);
    const kind = view.getUint32(4, true);
    if (unit === undefined && kind !== TMF_TARGET_RESET) {
      return INCORRECT_LUN;
    }
    switch (kind) {
      case TMF_ABORT_TASK:
        this.#abort((task) => inUnit(task) && task.tag === tag, RESPONSE_ABORTED);
        return FUNCTION_COMPLETE;
      case TMF_ABORT_TASK_SET:
      case TMF_CLEAR_TASK_SET:
        this.#abort(inUnit, RESPONSE_ABORTED);
        return FUNCTION_COMPLETE;
      case TMF_UNIT_RESET:
        this.#abort(inUnit, RESPONSE_RESET);
        unit?.reset();
        return FUNCTION_COMPLETE;
      case TMF_TARGET_RESET:
        this.#abort((task) => task.target === target, RESPONSE_RESET);
        for (const each of luns.values()) {
          each.reset();
        }
        return FUNCTION_COMPLETE;
      case TMF_QUERY_TASK:
        return [...this.#requests].some((task) => inUnit(task) && task.tag === tag)
          ? FUNCTION_SUCCEEDED
          : FUNCTION_COMPLETE;
      case TMF_QUERY_TASK_SET:
        return [...this.#requests].some(inUnit) ? FUNCTION_SUCCEEDED : FUNCTION_COMPLETE;
      default:
        return FUNCTION_REJECTED;
    }
  }

  // ---- life

  *#allUnits(): IterableIterator<{ target: number; lun: number; unit: ScsiUnit }> {
    for (const [target, luns] of this.#units) {
      for (const [lun, unit] of luns) {
        yield { target, lun, unit };
      }
    }
  }

  resetQueue(index: number): void {
    for (const request of [...this.#requests]) {
      if (request.queue === index) {
        this.unit(request.target, request.lun)?.fence();
        this.#requests.delete(request);
      }
    }
  }

  reset(): void {
    this.#driver = undefined;
    this.#restart.cancel();
    this.#requests.clear();
    this.#events = [];
    this.#missedEvents = false;
    this.#setSizes();
    for (const { unit } of this.#allUnits()) {
      unit.reset();
    }
  }

  save(): StateValue {
    return {
      senseBytes: this.#senseBytes,
      cdbBytes: this.#cdbBytes,
      events: this.#events.map((event) => ({ ...event })),
      missedEvents: this.#missedEvents,
      requests: [...this.#requests].map(({ queue, chain }) => ({ queue, chain: chain.save() })),
      units: [...this.#allUnits()].map(({ target, lun, unit }) => ({ target, lun, unit: unit.save() })),
    };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const senseBytes = reader.int('senseBytes', 1, 255);
    const cdbBytes = reader.int('cdbBytes', 1, 255);
    const missedEvents = reader.boolean('missedEvents');
    const events = reader.objects('events', undefined, MAX_WAITING_EVENTS).map((item) => ({
      kind: item.u32('kind'),
      target: item.int('target', 0, MAX_TARGET),
      lun: item.int('lun', 0, MAX_LUN),
      reason: item.u32('reason'),
    }));
    const units = reader.objects('units').map((item) => {
      const unit = this.unit(item.int('target', 0, MAX_TARGET), item.int('lun', 0, MAX_LUN));
      return unit?.load(item.object('unit')) ?? item.refuse('there is no such unit now');
    });
    if (units.length !== [...this.#allUnits()].length) {
      reader.refuse('there were other units when this was saved');
    }
    const requests = reader.objects('requests').map((item): Request => {
      const queue = item.int('queue', FIRST_REQUEST_QUEUE, this.queueSizes.length - 1);
      const chain = driver?.queues[queue]?.adopt(item.object('chain'));
      return chain === undefined
        ? item.refuse('a request of a device that sleeps')
        : { queue, chain, tag: 0n, target: -1, lun: -1 };
    });
    this.#driver = driver;
    this.#view.setUint32(CONFIG_SENSE_SIZE, senseBytes, true);
    this.#view.setUint32(CONFIG_CDB_SIZE, cdbBytes, true);
    this.#events = events;
    this.#missedEvents = missedEvents;
    for (const apply of units) {
      apply();
    }
    this.#requests.clear();
    for (const request of requests) {
      this.#requests.add(request);
    }
    if (requests.length > 0) {
      this.#restart.set(0);
    } else {
      this.#restart.cancel();
    }
  }

  describe(): string {
    const units = [...this.#allUnits()].map(({ target, lun, unit }) => `${target}:${lun} ${unit.describe()}`);
    return [`SCSI host adapter, ${this.#requests.size} requests in flight`, ...units].join('\n');
  }

  dispose(): void {
    this.#restart.dispose();
    this.#requests.clear();
  }
}

const NO_SENSE = new Uint8Array(0);

/** The eight bytes of a LUN field: 1, the target, and a single-level LUN (section 5.6.6.1). */
function readLun(bytes: Uint8Array): { target: number; lun: number } | undefined {
  const high = bytes[2] ?? 0;
  // Peripheral (00b) or flat (01b) addressing.
  return bytes[0] === 1 && high < 0x80
    ? { target: bytes[1] ?? 0, lun: ((high & 0x3f) << 8) | (bytes[3] ?? 0) }
    : undefined;
}

function writeLun(bytes: Uint8Array, target: number, lun: number): void {
  bytes.set([1, target, 0x40 | (lun >> 8), lun & 0xff]);
}

/** REPORT LUNS (SPC-4, 6.33). */
function lunList(luns: readonly number[]): Uint8Array {
  const sorted = luns.toSorted((a, b) => a - b);
  const view = new DataView(new ArrayBuffer(8 + 8 * sorted.length));
  view.setUint32(0, 8 * sorted.length);
  for (const [index, lun] of sorted.entries()) {
    view.setUint16(8 + 8 * index, lun < 256 ? lun : 0x4000 | lun);
  }
  return new Uint8Array(view.buffer);
}
