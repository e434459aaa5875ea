import type { AudioFormat, AudioSink, AudioSource } from '../../backends/audio/audio-backend.ts';
import type { Clock } from '../../clock/clock.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice } from '../virtio-device.ts';
import { completeTransfer, PcmStream } from './pcm-stream.ts';
import * as layout from './sound-layout.ts';

const QUEUE_SIZE = 64;
/** Streams by their numbers. */
const PLAYBACK = 0;
const CAPTURE = 1;
const CONFIG_BYTES = 12;
const MIN_CHANNELS = 1;
const MAX_CHANNELS = 2;
/** Events that wait for a buffer of the guest. */
const MAX_EVENTS = 16;

interface Jack {
  readonly configuration: number;
  readonly capabilities: number;
  connected: boolean;
}

export interface VirtioSoundWiring {
  readonly clock: Clock;
  readonly sink: AudioSink;
  readonly source: AudioSource;
}

/** Whether the capture stream can have a source of this format. */
export function canRecord({ channels, rate }: AudioFormat): boolean {
  return channels >= MIN_CHANNELS && channels <= MAX_CHANNELS && layout.rateBits(rate) !== 0n;
}

/** Maps of channels: direction, then the positions of the speakers. */
const CHANNEL_MAPS = [PLAYBACK, CAPTURE].flatMap((direction) => [
  { direction, positions: [layout.POSITION_MONO] },
  { direction, positions: [layout.POSITION_FRONT_LEFT, layout.POSITION_FRONT_RIGHT] },
]);

/** The sound device (virtio 1.2, section 5.14): one stream to play, one to record, a jack for each. */
export class VirtioSound implements VirtioDevice {
  readonly type = VIRTIO_ID.sound;
  readonly features = 0n;
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly config = new Uint8Array(CONFIG_BYTES);
  readonly #wiring: VirtioSoundWiring;
  readonly #jacks: readonly Jack[];
  readonly #streams: readonly [PcmStream, PcmStream];
  #events: Uint8Array[] = [];
  #driver: ActiveDriver | undefined;

  constructor(wiring: VirtioSoundWiring) {
    this.#wiring = wiring;
    const { clock, sink, source } = wiring;
    this.#jacks = [
      { configuration: layout.LINE_OUT_GREEN, capabilities: layout.PIN_OUTPUT | layout.PIN_PRESENCE, connected: true },
      { configuration: layout.MICROPHONE_PINK, capabilities: layout.PIN_INPUT | layout.PIN_PRESENCE, connected: true },
    ];
    this.#streams = [
      new PcmStream({
        clock,
        direction: 'playback',
        ...this.#abilities(PLAYBACK),
        transfer: (format, samples) => sink.play(format, samples),
      }),
      new PcmStream({
        clock,
        direction: 'capture',
        ...this.#abilities(CAPTURE),
        transfer: (format, samples) => source.record(format, samples),
      }),
    ];
    const view = new DataView(this.config.buffer);
    view.setUint32(0, this.#jacks.length, true);
    view.setUint32(4, this.#streams.length, true);
    view.setUint32(8, CHANNEL_MAPS.length, true);
  }

  /** What a stream can do: everything, or what the source has. */
  #abilities(stream: number) {
    const only = stream === CAPTURE ? this.#wiring.source.format : undefined;
    return {
      formats: layout.formatBits(only?.encoding),
      rates: layout.rateBits(only?.rate),
      channels: { min: only?.channels ?? MIN_CHANNELS, max: only?.channels ?? MAX_CHANNELS },
    };
  }

  attach(): void {}

  /** Plugs something into a jack (0 line out, 1 microphone) or out; the guest is told. */
  setConnected(index: number, connected: boolean): void {
    const jack = this.#jacks[index];
    if (jack !== undefined && jack.connected !== connected) {
      jack.connected = connected;
      this.#tell(connected ? layout.EVT_JACK_CONNECTED : layout.EVT_JACK_DISCONNECTED, index);
    }
  }

  #tell(code: number, data: number): void {
    if (this.#driver === undefined || this.#events.length >= MAX_EVENTS) {
      return;
    }
    const event = new Uint8Array(layout.EVENT_BYTES);
    const view = new DataView(event.buffer);
    view.setUint32(0, code, true);
    view.setUint32(4, data, true);
    this.#events.push(event);
    this.#sendEvents();
  }

  #sendEvents(): void {
    const queue = this.#driver?.queues[layout.EVENT_QUEUE];
    while (queue !== undefined && this.#events.length > 0) {
      const chain = queue.pop();
      const event = chain === undefined ? undefined : this.#events.shift();
      if (chain === undefined || event === undefined) {
        break;
      }
      queue.push(chain, chain.write(0, event));
    }
    queue?.signal();
  }

  activate(driver: ActiveDriver): void {
    this.#driver = driver;
    this.#streams[PLAYBACK].activate(driver.queues[layout.PLAYBACK_QUEUE]);
    this.#streams[CAPTURE].activate(driver.queues[layout.CAPTURE_QUEUE]);
  }

  notify(index: number): void {
    switch (index) {
      case layout.CONTROL_QUEUE:
        this.#control();
        return;
      case layout.EVENT_QUEUE:
        this.#sendEvents();
        return;
      case layout.PLAYBACK_QUEUE:
        this.#take(index, PLAYBACK);
        return;
      case layout.CAPTURE_QUEUE:
        this.#take(index, CAPTURE);
        return;
    }
  }

  /** Hands buffers to the stream of a queue; each names it once more. */
  #take(index: number, stream: 0 | 1): void {
    const queue = this.#driver?.queues[index];
    for (let chain = queue?.pop(); queue !== undefined && chain !== undefined; chain = queue.pop()) {
      const header = chain.bytes(0, layout.XFER_BYTES);
      const named = header.length === layout.XFER_BYTES && new DataView(header.buffer).getUint32(0, true) === stream;
      if (!named || !this.#streams[stream].add(chain)) {
        completeTransfer(queue, chain, named ? layout.S_IO_ERR : layout.S_BAD_MSG, 0);
      }
    }
    queue?.signal();
  }

  // ---- the control queue

  #control(): void {
    const queue = this.#driver?.queues[layout.CONTROL_QUEUE];
    for (let chain = queue?.pop(); queue !== undefined && chain !== undefined; chain = queue.pop()) {
      const request = chain.bytes(0, layout.SET_PARAMS_BYTES);
      const answer = this.#answer(new DataView(request.buffer), chain.writableBytes);
      queue.push(chain, chain.write(0, answer));
    }
    queue?.signal();
  }

  #answer(request: DataView, room: number): Uint8Array {
    const length = request.byteLength;
    if (length < layout.HEADER_BYTES) {
      return statusOnly(layout.S_BAD_MSG);
    }
    const code = request.getUint32(0, true);
    switch (code) {
      case layout.R_JACK_INFO:
        return query(request, room, layout.JACK_INFO_BYTES, this.#jacks.length, (id, view) => {
          const jack = this.#jacks[id];
          view.setUint32(8, jack?.configuration ?? 0, true);
          view.setUint32(12, jack?.capabilities ?? 0, true);
          view.setUint8(16, jack?.connected === true ? 1 : 0);
        });
      case layout.R_PCM_INFO:
        return query(request, room, layout.PCM_INFO_BYTES, this.#streams.length, (id, view) => {
          const { formats, rates, channels } = this.#abilities(id);
          view.setBigUint64(8, formats, true);
          view.setBigUint64(16, rates, true);
          view.setUint8(24, id);
          view.setUint8(25, channels.min);
          view.setUint8(26, channels.max);
        });
      case layout.R_CHMAP_INFO:
        return query(request, room, layout.CHMAP_INFO_BYTES, CHANNEL_MAPS.length, (id, view) => {
          const map = CHANNEL_MAPS[id];
          view.setUint8(4, map?.direction ?? 0);
          view.setUint8(5, map?.positions.length ?? 0);
          for (const [channel, position] of (map?.positions ?? []).entries()) {
            view.setUint8(6 + channel, position);
          }
        });
      case layout.R_PCM_SET_PARAMS:
      case layout.R_PCM_PREPARE:
      case layout.R_PCM_RELEASE:
      case layout.R_PCM_START:
      case layout.R_PCM_STOP:
        return statusOnly(this.#stream(code, request));
      default:
        // Jacks cannot be remapped.
        return statusOnly(layout.S_NOT_SUPP);
    }
  }

  #stream(code: number, request: DataView): number {
    const needed = code === layout.R_PCM_SET_PARAMS ? layout.SET_PARAMS_BYTES : layout.PCM_HEADER_BYTES;
    const stream = request.byteLength < needed ? undefined : this.#streams[request.getUint32(4, true)];
    if (stream === undefined) {
      return layout.S_BAD_MSG;
    }
    switch (code) {
      case layout.R_PCM_SET_PARAMS:
        return stream.setParams(request);
      case layout.R_PCM_PREPARE:
        return stream.prepare();
      case layout.R_PCM_RELEASE:
        return stream.release();
      case layout.R_PCM_START:
        return stream.start();
      default:
        return stream.stop();
    }
  }

  // ---- life

  resetQueue(index: number): void {
    if (index === layout.PLAYBACK_QUEUE) {
      this.#streams[PLAYBACK].forget();
    } else if (index === layout.CAPTURE_QUEUE) {
      this.#streams[CAPTURE].forget();
    }
  }

  reset(): void {
    this.#driver = undefined;
    this.#events = [];
    for (const stream of this.#streams) {
      stream.reset();
    }
  }

  save(): StateValue {
    return {
      jacks: this.#jacks.map(({ connected }) => connected),
      events: this.#events.map((event) => event.slice()),
      streams: this.#streams.map((stream) => stream.save()),
    };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const jacks = reader
      .array('jacks', this.#jacks.length)
      .map((connected) => (typeof connected === 'boolean' ? connected : reader.refuse('a jack is neither in nor out')));
    const events = reader
      .array('events', undefined, MAX_EVENTS)
      .map((event) =>
        event instanceof Uint8Array && event.length === layout.EVENT_BYTES
          ? event.slice()
          : reader.refuse('an event is no event'),
      );
    const saved = reader.objects('streams', this.#streams.length);
    const loads = this.#streams.map((stream, index) => {
      const queue = driver?.queues[index === PLAYBACK ? layout.PLAYBACK_QUEUE : layout.CAPTURE_QUEUE];
      const state = saved[index];
      return state === undefined ? reader.refuse('a stream is missing') : stream.load(state, queue);
    });
    this.#driver = driver;
    this.#events = events;
    for (const [index, connected] of jacks.entries()) {
      const jack = this.#jacks[index];
      if (jack !== undefined) {
        jack.connected = connected;
      }
    }
    for (const load of loads) {
      load();
    }
  }

  describe(): string {
    return `sound: ${this.#streams.map((stream) => stream.describe()).join('; ')}`;
  }

  dispose(): void {
    this.#driver = undefined;
    for (const stream of this.#streams) {
      stream.dispose();
    }
    this.#wiring.sink.dispose();
    this.#wiring.source.dispose();
  }
}

function statusOnly(status: number): Uint8Array {
  const answer = new Uint8Array(layout.HEADER_BYTES);
  new DataView(answer.buffer).setUint32(0, status, true);
  return answer;
}

/** Answers a request for `count` descriptions from `start` on, each of `size` bytes (section 5.14.6.1). */
function query(
  request: DataView,
  room: number,
  bytes: number,
  total: number,
  fill: (id: number, view: DataView) => void,
): Uint8Array {
  if (request.byteLength < layout.QUERY_BYTES) {
    return statusOnly(layout.S_BAD_MSG);
  }
  const start = request.getUint32(4, true);
  const count = request.getUint32(8, true);
  const size = request.getUint32(12, true);
  if (start + count > total || size < bytes || layout.HEADER_BYTES + count * size > Math.min(room, MAX_ANSWER)) {
    return statusOnly(layout.S_BAD_MSG);
  }
  const answer = new Uint8Array(layout.HEADER_BYTES + count * size);
  const view = new DataView(answer.buffer);
  view.setUint32(0, layout.S_OK, true);
  for (let i = 0; i < count; i++) {
    fill(start + i, new DataView(answer.buffer, layout.HEADER_BYTES + i * size, bytes));
  }
  return answer;
}

const MAX_ANSWER = 4096;
