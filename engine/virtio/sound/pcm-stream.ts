import { AUDIO_ENCODINGS, type AudioFormat, frameBytes } from '../../backends/audio/audio-backend.ts';
import type { Alarm, Clock, Nanos } from '../../clock/clock.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import type { VirtQueue } from '../queue/virt-queue.ts';
import { encodingOf, rateOf, S_BAD_MSG, S_NOT_SUPP, S_OK, STATUS_BYTES, XFER_BYTES } from './sound-layout.ts';

/** Larger buffers are refused: seconds of sound are no period. */
const MAX_PERIOD_BYTES = 1 << 20;
const MAX_BUFFER_BYTES = 64 << 20;
/** Samples handed on in one piece; a multiple of every frame. */
const PIECE_BYTES = 24 << 10;

/** The life of a stream (virtio 1.2, section 5.14.6.6.1). */
const STATES = ['new', 'set', 'prepared', 'running', 'stopped', 'released'] as const;
type StreamState = (typeof STATES)[number];

export interface PcmStreamWiring {
  readonly clock: Clock;
  readonly direction: 'playback' | 'capture';
  /** Formats, rates and channels that the stream has. */
  readonly formats: bigint;
  readonly rates: bigint;
  readonly channels: { readonly min: number; readonly max: number };
  /** Frames that were played; or frames to be filled. */
  transfer(format: AudioFormat, samples: Uint8Array): void;
}

/**
 * One stream of the sound device. Buffers take turns: each lasts as long as its frames do at the stream's rate, by the
 * machine's clock, and goes back to the guest when its time is over. Moments are counted from the start of a run and not
 * from one buffer to the next, so that lateness of the host does not add up; samples are read as late as can be, as Linux
 * before 6.7 hands buffers over before they are filled.
 */
export class PcmStream {
  readonly #wiring: PcmStreamWiring;
  readonly #alarm: Alarm;
  #queue: VirtQueue | undefined;
  #state: StreamState = 'new';
  #format: AudioFormat | undefined;
  #waiting: DescriptorChain[] = [];
  /** So often the guest had no buffer when the last one was over. */
  xruns = 0;
  /** When the first of the frames counted by `#frames` began; undefined while nothing plays. */
  #start: Nanos | undefined;
  #frames = 0;

  constructor(wiring: PcmStreamWiring) {
    this.#wiring = wiring;
    this.#alarm = wiring.clock.createAlarm(() => this.#due());
  }

  activate(queue: VirtQueue | undefined): void {
    this.#queue = queue;
  }

  // ---- requests; each returns its status

  setParams(view: DataView): number {
    if (this.#state === 'running' || this.#state === 'stopped') {
      return S_BAD_MSG;
    }
    const bufferBytes = view.getUint32(8, true);
    const periodBytes = view.getUint32(12, true);
    // At 16 stand the features, of which the stream has none.
    const channels = view.getUint8(20);
    const formatNumber = view.getUint8(21);
    const rateNumber = view.getUint8(22);
    const { formats, rates, channels: limits } = this.#wiring;
    const encoding = encodingOf(formatNumber);
    const rate = rateOf(rateNumber);
    if (
      encoding === undefined ||
      rate === undefined ||
      (formats & (1n << BigInt(formatNumber))) === 0n ||
      (rates & (1n << BigInt(rateNumber))) === 0n ||
      channels < limits.min ||
      channels > limits.max
    ) {
      return S_NOT_SUPP;
    }
    if (
      periodBytes === 0 ||
      periodBytes > MAX_PERIOD_BYTES ||
      bufferBytes > MAX_BUFFER_BYTES ||
      bufferBytes % periodBytes !== 0
    ) {
      return S_BAD_MSG;
    }
    this.#format = { encoding, channels, rate };
    this.#flush();
    this.#state = 'set';
    return S_OK;
  }

  prepare(): number {
    if (this.#state === 'new' || this.#state === 'running' || this.#state === 'stopped') {
      return S_BAD_MSG;
    }
    this.#state = 'prepared';
    return S_OK;
  }

  start(): number {
    if (this.#state !== 'prepared' && this.#state !== 'stopped') {
      return S_BAD_MSG;
    }
    this.#state = 'running';
    this.#next();
    return S_OK;
  }

  stop(): number {
    if (this.#state !== 'running') {
      return S_BAD_MSG;
    }
    this.#state = 'stopped';
    this.#start = undefined;
    this.#alarm.cancel();
    return S_OK;
  }

  /** All buffers go back before the request is answered. */
  release(): number {
    if (this.#state !== 'prepared' && this.#state !== 'stopped') {
      return S_BAD_MSG;
    }
    this.#flush();
    this.#state = 'released';
    return S_OK;
  }

  // ---- buffers

  /** Takes a buffer of the guest; false: it is no buffer for this stream now. */
  add(chain: DescriptorChain): boolean {
    const ready = this.#state === 'prepared' || this.#state === 'running' || this.#state === 'stopped';
    const bytes = this.#dataBytes(chain);
    if (!ready || bytes < 0 || bytes > MAX_PERIOD_BYTES) {
      return false;
    }
    this.#waiting.push(chain);
    if (this.#waiting.length === 1) {
      this.#next();
    }
    return true;
  }

  #dataBytes(chain: DescriptorChain): number {
    return this.#wiring.direction === 'playback'
      ? chain.readableBytes - XFER_BYTES
      : chain.writableBytes - STATUS_BYTES;
  }

  /** Sets the alarm for the end of the first buffer; its time begins now unless another one has just ended. */
  #next(): void {
    const [first] = this.#waiting;
    const format = this.#format;
    if (this.#state !== 'running' || first === undefined || format === undefined) {
      return;
    }
    if (this.#start === undefined) {
      this.#start = this.#wiring.clock.now();
      this.#frames = 0;
    }
    this.#alarm.set(this.#endOf(first, this.#start, format));
  }

  #endOf(chain: DescriptorChain, start: Nanos, format: AudioFormat): Nanos {
    const frames = this.#frames + Math.floor(this.#dataBytes(chain) / frameBytes(format));
    return start + Math.ceil((frames * 1e9) / format.rate);
  }

  #due(): void {
    const format = this.#format;
    const now = this.#wiring.clock.now();
    while (format !== undefined && this.#state === 'running' && this.#start !== undefined) {
      const [first] = this.#waiting;
      if (first === undefined || this.#endOf(first, this.#start, format) > now) {
        break;
      }
      this.#waiting.shift();
      this.#frames += Math.floor(this.#dataBytes(first) / frameBytes(format));
      this.#transfer(first, format);
    }
    this.#queue?.signal();
    if (this.#waiting.length > 0) {
      this.#next();
    } else if (this.#start !== undefined) {
      // The time of the next buffer begins when it comes.
      this.#start = undefined;
      this.xruns++;
    }
  }

  /** Plays or fills a buffer and gives it back. */
  #transfer(chain: DescriptorChain, format: AudioFormat): void {
    const length = this.#dataBytes(chain);
    const whole = length - (length % frameBytes(format));
    const play = this.#wiring.direction === 'playback';
    for (let at = 0; at < whole; at += PIECE_BYTES) {
      const count = Math.min(PIECE_BYTES, whole - at);
      if (play) {
        this.#wiring.transfer(format, chain.bytes(XFER_BYTES + at, count));
      } else {
        const samples = new Uint8Array(count);
        this.#wiring.transfer(format, samples);
        chain.write(at, samples);
      }
    }
    completeTransfer(this.#queue, chain, S_OK, play ? 0 : whole);
  }

  #flush(): void {
    this.#alarm.cancel();
    this.#start = undefined;
    for (const chain of this.#waiting.splice(0)) {
      completeTransfer(this.#queue, chain, S_OK, 0);
    }
    this.#queue?.signal();
  }

  // ---- life

  /** Forgets the buffers, after a reset of their queue. */
  forget(): void {
    this.#waiting = [];
    this.#start = undefined;
    this.#alarm.cancel();
  }

  reset(): void {
    this.forget();
    this.#queue = undefined;
    this.#state = 'new';
    this.#format = undefined;
    this.#frames = 0;
    this.xruns = 0;
  }

  save(): StateValue {
    const format = this.#format;
    return {
      state: this.#state,
      encoding: format?.encoding ?? null,
      channels: format?.channels ?? 0,
      rate: format?.rate ?? 0,
      waiting: this.#waiting.map((chain) => chain.save()),
      start: this.#start ?? null,
      frames: this.#frames,
      xruns: this.xruns,
    };
  }

  /** Reads what `save` gave and checks it; the result applies it. */
  load(reader: StateReader, queue: VirtQueue | undefined): () => void {
    const state = reader.oneOf('state', STATES);
    let format: AudioFormat | undefined;
    if (reader.has('encoding')) {
      const { min, max } = this.#wiring.channels;
      format = {
        encoding: reader.oneOf('encoding', AUDIO_ENCODINGS),
        channels: reader.int('channels', min, max),
        rate: reader.int('rate', 1, 384_000),
      };
    }
    if ((state === 'new') !== (format === undefined)) {
      reader.refuse(`a stream that is ${state} ${format === undefined ? 'without' : 'with'} a format`);
    }
    const start = reader.optionalNanos('start');
    const frames = reader.int('frames', 0, Number.MAX_SAFE_INTEGER);
    const xruns = reader.int('xruns', 0, Number.MAX_SAFE_INTEGER);
    const saved = reader.objects('waiting', undefined, queue?.size ?? 0);
    const waiting = saved.map((item) => {
      const chain = queue?.adopt(item) ?? item.refuse('a buffer of a device that sleeps');
      return this.#dataBytes(chain) < 0 ? item.refuse('a buffer without room for its header') : chain;
    });
    return () => {
      this.#queue = queue;
      this.#state = state;
      this.#format = format;
      this.#waiting = waiting;
      this.#start = start;
      this.#frames = frames;
      this.xruns = xruns;
      this.#alarm.cancel();
      const [first] = waiting;
      if (state === 'running' && start !== undefined && first !== undefined && format !== undefined) {
        this.#alarm.set(this.#endOf(first, start, format));
      }
    };
  }

  describe(): string {
    const format = this.#format;
    const what = format === undefined ? '' : ` ${format.encoding} ${format.channels}×${format.rate}`;
    return `${this.#wiring.direction} ${this.#state}${what}, ${this.#waiting.length} buffers wait, ${this.xruns} xruns`;
  }

  dispose(): void {
    this.#alarm.dispose();
  }
}

/**
 * Gives a buffer back with its status, which is the last part of its writable bytes. What was not filled before it is
 * silence, as what a buffer's length counts is written. Buffers without a sensible place for a status get none.
 */
export function completeTransfer(
  queue: VirtQueue | undefined,
  chain: DescriptorChain,
  status: number,
  filled: number,
): void {
  const at = chain.writableBytes - STATUS_BYTES;
  if (at < 0 || at > MAX_PERIOD_BYTES) {
    queue?.push(chain, 0);
    return;
  }
  chain.writeZeros(filled, at - filled);
  const bytes = new Uint8Array(STATUS_BYTES);
  new DataView(bytes.buffer).setUint32(0, status, true);
  queue?.push(chain, at + chain.write(at, bytes));
}
