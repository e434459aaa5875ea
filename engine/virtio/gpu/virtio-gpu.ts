import type { DisplaySink } from '../../backends/display.ts';
import { defined } from '../../base/assert.ts';
import type { Alarm, Clock } from '../../clock/clock.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { GuestMemory } from '../../memory/guest-memory.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice, type VirtioTransport } from '../virtio-device.ts';
import { GpuHead, type HeadSize } from './gpu-head.ts';
import * as gpu from './gpu-layout.ts';
import { Backing, GpuResource, liesWithin, MAX_BACKING_ENTRIES, type Rectangle } from './gpu-resource.ts';

/** Room for the guest's pictures on the host. */
const MEMORY_BYTES = 256 << 20;
/** After so many bytes were copied, or so many requests, other devices and the processors have their turn. */
const BYTES_PER_TURN = 64 << 20;
const REQUESTS_PER_TURN = 1024;
/** The longest request without its backing entries. */
const MAX_FIXED_BYTES = 64;

export interface VirtioGpuWiring {
  readonly memory: GuestMemory;
  readonly clock: Clock;
  /** What a monitor of this size says of itself (VESA EDID); at most 1024 bytes. */
  readonly edid: (size: HeadSize) => Uint8Array;
  /** Where each scanout's picture goes; as many as there are scanouts, 1 to 16. */
  readonly displays: readonly DisplaySink[];
}

export interface VirtioGpuConfig {
  /** The resolution that monitors have in the beginning. */
  readonly size: HeadSize;
}

/** A request under way, and what it is answered with. */
interface Request {
  readonly view: DataView;
  readonly chain: DescriptorChain;
}

/**
 * The GPU device in its 2D mode (virtio 1.2, section 5.7): the guest draws into its own memory, transfers rectangles into
 * resources of the host, and says what of them is to be seen on which scanout. Requests are carried out in order and
 * answered at once, so a fence has passed when its answer is there.
 */
export class VirtioGpu implements VirtioDevice {
  readonly type = VIRTIO_ID.gpu;
  readonly features = gpu.VIRTIO_GPU_F_EDID;
  readonly queueSizes = [256, 16];
  readonly config = new Uint8Array(gpu.GPU_CONFIG.length);
  readonly heads: readonly GpuHead[];
  readonly #view = new DataView(this.config.buffer);
  readonly #wiring: VirtioGpuWiring;
  /** Goes on with requests that were too many for one turn, or that came with a loaded state. */
  readonly #goOn: Alarm;
  readonly #resources = new Map<number, GpuResource>();
  #used = 0;
  #copied = 0;
  #takenOver = false;
  #transport: VirtioTransport | undefined;
  #driver: ActiveDriver | undefined;

  constructor(wiring: VirtioGpuWiring, { size }: VirtioGpuConfig) {
    this.#wiring = wiring;
    this.heads = wiring.displays.slice(0, gpu.GPU_MAX_SCANOUTS).map((sink, index) => new GpuHead(index, size, sink));
    this.#view.setUint32(gpu.GPU_CONFIG.scanouts, this.heads.length, true);
    this.#goOn = wiring.clock.createAlarm(() => {
      this.notify(gpu.GPU_CONTROL_QUEUE);
      this.notify(gpu.GPU_CURSOR_QUEUE);
    });
  }

  attach(transport: VirtioTransport): void {
    this.#transport = transport;
  }

  /** The guest has a driver that is ready. */
  get active(): boolean {
    return this.#driver !== undefined;
  }

  /** The driver has shown something since it is there, if only to show nothing again: the screens are the GPU's. */
  get takenOver(): boolean {
    return this.#takenOver;
  }

  /** Gives a monitor another resolution, as if it were replaced: the guest hears of it and may follow. */
  resize(head: number, size: HeadSize): void {
    if (this.heads[head]?.want(size) === true) {
      const { eventsRead } = gpu.GPU_CONFIG;
      this.#view.setUint32(eventsRead, this.#view.getUint32(eventsRead, true) | gpu.GPU_EVENT_DISPLAY, true);
      this.#transport?.configChanged();
    }
  }

  /** Writing ones to `events_clear` acknowledges events. */
  writeConfig(offset: number, data: Uint8Array): void {
    const { eventsRead, eventsClear } = gpu.GPU_CONFIG;
    for (const [index, value] of data.entries()) {
      const byte = offset + index - eventsClear;
      if (byte >= 0 && byte < 4) {
        this.config[eventsRead + byte] = (this.config[eventsRead + byte] ?? 0) & ~value;
      }
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
    this.#copied = 0;
    for (let requests = 0; ; requests++) {
      if (this.#copied > BYTES_PER_TURN || requests >= REQUESTS_PER_TURN) {
        this.#goOn.set(this.#wiring.clock.now());
        break;
      }
      const chain = queue.pop();
      if (chain === undefined) {
        break;
      }
      queue.push(chain, this.#answer(index, chain));
    }
    queue.signal();
  }

  /** Carries out a request; returns the bytes of its answer. */
  #answer(queue: number, chain: DescriptorChain): number {
    if (chain.writableBytes < gpu.GPU_HEADER_BYTES && queue === gpu.GPU_CONTROL_QUEUE) {
      return 0;
    }
    const bytes = new Uint8Array(MAX_FIXED_BYTES);
    const length = chain.read(0, bytes);
    const request = { view: new DataView(bytes.buffer), chain };
    let answer: number | Uint8Array = gpu.GPU_RESP_ERR_UNSPEC;
    if (length >= gpu.GPU_HEADER_BYTES) {
      answer = queue === gpu.GPU_CONTROL_QUEUE ? this.#control(request) : this.#cursor(request);
    }
    const response = typeof answer === 'number' ? new Uint8Array(gpu.GPU_HEADER_BYTES) : answer;
    const view = new DataView(response.buffer);
    if (typeof answer === 'number') {
      view.setUint32(0, answer, true);
    }
    if ((request.view.getUint32(4, true) & gpu.GPU_FLAG_FENCE) !== 0) {
      // Section 5.7.6.7: the fence comes back with the answer, and the context with the fence.
      view.setUint32(4, gpu.GPU_FLAG_FENCE, true);
      response.set(bytes.subarray(8, 20), 8);
    }
    return chain.write(0, response);
  }

  #control(request: Request): number | Uint8Array {
    const { view } = request;
    switch (view.getUint32(0, true)) {
      case gpu.GPU_CMD_GET_DISPLAY_INFO:
        return this.#displayInfo();
      case gpu.GPU_CMD_GET_EDID:
        return this.#edid(view.getUint32(24, true));
      case gpu.GPU_CMD_RESOURCE_CREATE_2D:
        return this.#create(view);
      case gpu.GPU_CMD_RESOURCE_UNREF:
        return this.#unref(view.getUint32(24, true));
      case gpu.GPU_CMD_RESOURCE_ATTACH_BACKING:
        return this.#attachBacking(request);
      case gpu.GPU_CMD_RESOURCE_DETACH_BACKING:
        return this.#detachBacking(view.getUint32(24, true));
      case gpu.GPU_CMD_TRANSFER_TO_HOST_2D:
        return this.#transfer(view);
      case gpu.GPU_CMD_SET_SCANOUT:
        return this.#setScanout(view);
      case gpu.GPU_CMD_RESOURCE_FLUSH:
        return this.#flush(view);
      default:
        return gpu.GPU_RESP_ERR_UNSPEC;
    }
  }

  #displayInfo(): Uint8Array {
    const response = new Uint8Array(gpu.GPU_HEADER_BYTES + gpu.GPU_MAX_SCANOUTS * gpu.GPU_DISPLAY_ENTRY_BYTES);
    const view = new DataView(response.buffer);
    view.setUint32(0, gpu.GPU_RESP_OK_DISPLAY_INFO, true);
    // Monitors stand side by side.
    let x = 0;
    for (const { index, wanted } of this.heads) {
      const at = gpu.GPU_HEADER_BYTES + index * gpu.GPU_DISPLAY_ENTRY_BYTES;
      view.setUint32(at, x, true);
      view.setUint32(at + 8, wanted.width, true);
      view.setUint32(at + 12, wanted.height, true);
      view.setUint32(at + 16, 1, true);
      x += wanted.width;
    }
    return response;
  }

  #edid(scanout: number): number | Uint8Array {
    const head = this.heads[scanout];
    if (head === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_PARAMETER;
    }
    const edid = this.#wiring.edid(head.wanted).subarray(0, gpu.GPU_EDID_BYTES);
    const response = new Uint8Array(gpu.GPU_HEADER_BYTES + 8 + gpu.GPU_EDID_BYTES);
    const view = new DataView(response.buffer);
    view.setUint32(0, gpu.GPU_RESP_OK_EDID, true);
    view.setUint32(gpu.GPU_HEADER_BYTES, edid.length, true);
    response.set(edid, gpu.GPU_HEADER_BYTES + 8);
    return response;
  }

  #create(view: DataView): number {
    const id = view.getUint32(24, true);
    const format = view.getUint32(28, true);
    const width = view.getUint32(32, true);
    const height = view.getUint32(36, true);
    if (id === 0 || this.#resources.has(id)) {
      return gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID;
    }
    if (!GpuResource.possible(width, height, format)) {
      return gpu.GPU_RESP_ERR_INVALID_PARAMETER;
    }
    if (this.#used + GpuResource.cost(width, height, 0) > MEMORY_BYTES) {
      return gpu.GPU_RESP_ERR_OUT_OF_MEMORY;
    }
    const resource = new GpuResource(width, height, format);
    this.#resources.set(id, resource);
    this.#used += resource.cost;
    this.#copied += resource.pixels.length;
    return gpu.GPU_RESP_OK_NODATA;
  }

  #unref(id: number): number {
    const resource = this.#resources.get(id);
    if (resource === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID;
    }
    for (const head of this.heads) {
      if (head.resourceId === id) {
        head.disable();
      }
    }
    this.#used -= resource.cost;
    this.#resources.delete(id);
    return gpu.GPU_RESP_OK_NODATA;
  }

  #attachBacking({ view, chain }: Request): number {
    const resource = this.#resources.get(view.getUint32(24, true));
    if (resource === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID;
    }
    const count = view.getUint32(28, true);
    const entries = gpu.GPU_HEADER_BYTES + 8;
    if (resource.backing !== undefined || count > MAX_BACKING_ENTRIES) {
      return gpu.GPU_RESP_ERR_UNSPEC;
    }
    if (chain.readableBytes < entries + count * gpu.GPU_BACKING_ENTRY_BYTES) {
      return gpu.GPU_RESP_ERR_INVALID_PARAMETER;
    }
    if (this.#used + count * gpu.GPU_BACKING_ENTRY_BYTES > MEMORY_BYTES) {
      return gpu.GPU_RESP_ERR_OUT_OF_MEMORY;
    }
    const backing = Backing.parse(chain, entries, count);
    if (backing === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_PARAMETER;
    }
    this.#used -= resource.cost;
    resource.backing = backing;
    this.#used += resource.cost;
    this.#copied += count * gpu.GPU_BACKING_ENTRY_BYTES;
    return gpu.GPU_RESP_OK_NODATA;
  }

  #detachBacking(id: number): number {
    const resource = this.#resources.get(id);
    if (resource === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID;
    }
    if (resource.backing === undefined) {
      return gpu.GPU_RESP_ERR_UNSPEC;
    }
    this.#used -= resource.cost;
    resource.backing = undefined;
    this.#used += resource.cost;
    return gpu.GPU_RESP_OK_NODATA;
  }

  #transfer(view: DataView): number {
    const area = rectangleAt(view, 24);
    const offset = view.getUint32(40, true) + view.getUint32(44, true) * 2 ** 32;
    const resource = this.#resources.get(view.getUint32(48, true));
    if (resource === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID;
    }
    if (resource.backing === undefined) {
      return gpu.GPU_RESP_ERR_UNSPEC;
    }
    if (!liesWithin(area, resource.width, resource.height)) {
      return gpu.GPU_RESP_ERR_INVALID_PARAMETER;
    }
    const { memory } = this.#wiring;
    this.#copied += resource.transfer((address, into) => memory.read(address, into), area, offset);
    return gpu.GPU_RESP_OK_NODATA;
  }

  #setScanout(view: DataView): number {
    const area = rectangleAt(view, 24);
    const head = this.heads[view.getUint32(40, true)];
    const id = view.getUint32(44, true);
    if (head === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_SCANOUT_ID;
    }
    if (id === 0) {
      head.disable();
      return gpu.GPU_RESP_OK_NODATA;
    }
    const resource = this.#resources.get(id);
    if (resource === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID;
    }
    if (!GpuHead.accepts(resource, area)) {
      return gpu.GPU_RESP_ERR_INVALID_PARAMETER;
    }
    head.show(id, resource, area);
    this.#takenOver = true;
    return gpu.GPU_RESP_OK_NODATA;
  }

  #flush(view: DataView): number {
    const area = rectangleAt(view, 24);
    const id = view.getUint32(40, true);
    const resource = this.#resources.get(id);
    if (resource === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID;
    }
    if (!liesWithin(area, resource.width, resource.height)) {
      return gpu.GPU_RESP_ERR_INVALID_PARAMETER;
    }
    for (const head of this.heads) {
      if (head.resourceId === id) {
        head.flush(area);
      }
    }
    return gpu.GPU_RESP_OK_NODATA;
  }

  /** The pointer's image is copied when it is set: the guest may change or remove its resource afterwards. */
  #cursor({ view }: Request): number {
    const type = view.getUint32(0, true);
    const head = this.heads[view.getUint32(24, true)];
    const x = view.getInt32(28, true);
    const y = view.getInt32(32, true);
    const id = view.getUint32(40, true);
    if (type !== gpu.GPU_CMD_UPDATE_CURSOR && type !== gpu.GPU_CMD_MOVE_CURSOR) {
      return gpu.GPU_RESP_ERR_UNSPEC;
    }
    if (head === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_SCANOUT_ID;
    }
    if (type === gpu.GPU_CMD_MOVE_CURSOR || id === 0) {
      // Moving neither shows nor hides it.
      head.moveCursor(x, y, type === gpu.GPU_CMD_MOVE_CURSOR && head.cursor?.visible === true);
      return gpu.GPU_RESP_OK_NODATA;
    }
    const resource = this.#resources.get(id);
    if (resource === undefined) {
      return gpu.GPU_RESP_ERR_INVALID_RESOURCE_ID;
    }
    const side = gpu.GPU_CURSOR_SIDE;
    const hotX = Math.min(view.getUint32(44, true), side - 1);
    const hotY = Math.min(view.getUint32(48, true), side - 1);
    head.setCursor({ width: side, height: side, hotX, hotY, rgba: resource.picture(side, side) }, x, y);
    this.#copied += side * side * 4;
    return gpu.GPU_RESP_OK_NODATA;
  }

  resetQueue(): void {}

  /** A new driver finds no resources; the monitors stay as the host wants them. */
  reset(): void {
    this.#driver = undefined;
    this.#takenOver = false;
    this.#goOn.cancel();
    this.#resources.clear();
    this.#used = 0;
    for (const head of this.heads) {
      head.reset();
    }
    this.#view.setUint32(gpu.GPU_CONFIG.eventsRead, 0, true);
  }

  save(): StateValue {
    return {
      takenOver: this.#takenOver,
      events: this.#view.getUint32(gpu.GPU_CONFIG.eventsRead, true),
      resources: [...this.#resources].map(([id, resource]) => ({ id, resource: resource.save() })),
      heads: this.heads.map((head) => head.save()),
    };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const takenOver = reader.boolean('takenOver');
    const events = reader.int('events', 0, gpu.GPU_EVENT_DISPLAY);
    const resources = new Map<number, GpuResource>();
    let used = 0;
    for (const saved of reader.objects('resources')) {
      const id = saved.int('id', 1, 0xffffffff);
      const resource = GpuResource.load(saved.object('resource'), MEMORY_BYTES - used);
      used += resource.cost;
      resources.set(id, resource);
    }
    const saved = reader.objects('heads', this.heads.length);
    const applyHeads = this.heads.map((head, index) => head.load(defined(saved[index], 'a head'), resources));
    this.#driver = driver;
    this.#takenOver = takenOver;
    this.#view.setUint32(gpu.GPU_CONFIG.eventsRead, events, true);
    this.#resources.clear();
    for (const [id, resource] of resources) {
      this.#resources.set(id, resource);
    }
    this.#used = used;
    for (const apply of applyHeads) {
      apply();
    }
    if (driver === undefined) {
      this.#goOn.cancel();
    } else {
      this.#goOn.set(0);
    }
  }

  describe(): string {
    const heads = this.heads.map(({ index, active, width, height, wanted }) => {
      const shown = active ? `${width} × ${height}` : 'off';
      return `scanout ${index}: ${shown} (monitor ${wanted.width} × ${wanted.height})`;
    });
    return `GPU: ${this.#resources.size} resources, ${this.#used >>> 20} MiB; ${heads.join(', ')}`;
  }

  dispose(): void {
    this.#goOn.dispose();
    this.#resources.clear();
  }
}

function rectangleAt(view: DataView, offset: number): Rectangle {
  return {
    x: view.getUint32(offset, true),
    y: view.getUint32(offset + 4, true),
    width: view.getUint32(offset + 8, true),
    height: view.getUint32(offset + 12, true),
  };
}
