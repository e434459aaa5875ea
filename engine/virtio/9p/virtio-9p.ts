import { MAX_MESSAGE_BYTES, type ShareBackend } from '../../backends/share/share-backend.ts';
import type { Alarm, Clock } from '../../clock/clock.ts';
import type { StateValue } from '../../devices/device.ts';
import type { StateReader } from '../../devices/state.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { type ActiveDriver, VIRTIO_ID, type VirtioDevice } from '../virtio-device.ts';
import {
  ERROR_REPLY_BYTES,
  ERROR_REPLY_TYPE,
  ERROR_TOO_LONG,
  MAX_TAG_BYTES,
  MESSAGE,
  MESSAGE_HEADER_BYTES,
  MESSAGE_TREAD,
  MESSAGE_TREADDIR,
  READ_REPLY_HEADER_BYTES,
  SMALL_REPLY_BYTES,
  TAG_OFFSET,
  VIRTIO_9P_F_MOUNT_TAG,
} from './9p-layout.ts';
import { readShareState } from './share-state.ts';

const QUEUE_SIZE = 128;

export interface Virtio9pWiring {
  readonly share: ShareBackend;
  readonly clock: Clock;
}

/** A message that was taken and not answered. */
interface Request {
  readonly chain: DescriptorChain;
  /** What came back while the machine was being saved. */
  reply: Uint8Array | undefined;
}

/**
 * The transport of 9P to a shared folder: one queue, whose buffers hold a message of 9P2000.L and room for its answer.
 * The messages mean nothing to the device but how long their answers can get. The share stays the caller's.
 */
export class Virtio9p implements VirtioDevice {
  readonly type = VIRTIO_ID.p9;
  readonly features = VIRTIO_9P_F_MOUNT_TAG;
  readonly queueSizes = [QUEUE_SIZE];
  readonly config: Uint8Array;
  readonly #tag: string;
  readonly #share: ShareBackend;
  /** Starts requests that were loaded, and gives back answers that came while the machine was saved. */
  readonly #later: Alarm;
  /** In the order of their arrival. */
  readonly #requests = new Set<Request>();
  #driver: ActiveDriver | undefined;
  /** Answers are kept: the guest's memory is being saved. */
  #saving = false;

  /** `tag`: what the guest mounts, at most 31 bytes. */
  constructor({ share, clock }: Virtio9pWiring, tag: string) {
    this.#tag = tag;
    this.#share = share;
    const bytes = new TextEncoder().encode(tag).subarray(0, MAX_TAG_BYTES);
    this.config = new Uint8Array(TAG_OFFSET + bytes.length);
    new DataView(this.config.buffer).setUint16(0, bytes.length, true);
    this.config.set(bytes, TAG_OFFSET);
    this.#later = clock.createAlarm(() => {
      for (const request of [...this.#requests]) {
        this.#goOn(request);
      }
    });
  }

  attach(): void {}

  activate(driver: ActiveDriver): void {
    this.#driver = driver;
  }

  notify(index: number): void {
    const queue = this.#driver?.queues[index];
    if (queue === undefined) {
      return;
    }
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      const request: Request = { chain, reply: undefined };
      this.#requests.add(request);
      this.#start(request);
    }
    queue.signal();
  }

  #goOn(request: Request): void {
    if (request.reply === undefined) {
      this.#start(request);
    } else {
      this.#answer(request, request.reply);
    }
  }

  #start(request: Request): void {
    const { chain } = request;
    const length = chain.readableBytes;
    const head = chain.bytes(0, MESSAGE.readCount + 4);
    if (head.length < MESSAGE_HEADER_BYTES || chain.writableBytes < ERROR_REPLY_BYTES) {
      this.#answer(request, new Uint8Array());
      return;
    }
    const view = new DataView(head.buffer);
    if (length > MAX_MESSAGE_BYTES) {
      this.#answer(request, tooLong(view.getUint16(MESSAGE.tag, true)));
      return;
    }
    const type = view.getUint8(MESSAGE.type);
    const reads = (type === MESSAGE_TREAD || type === MESSAGE_TREADDIR) && head.length >= MESSAGE.readCount + 4;
    const wanted = reads ? READ_REPLY_HEADER_BYTES + view.getUint32(MESSAGE.readCount, true) : SMALL_REPLY_BYTES;
    this.#carryOut(request, length, Math.min(wanted, chain.writableBytes, MAX_MESSAGE_BYTES));
  }

  #carryOut(request: Request, length: number, room: number): void {
    const share = this.#share;
    const replyAt = Math.ceil(length / 16) * 16;
    const memory = share.take(replyAt + room);
    if (memory === undefined) {
      share.wait(() => {
        if (this.#requests.has(request)) {
          this.#carryOut(request, length, room);
        }
      });
      return;
    }
    const message = memory.subarray(0, length);
    const reply = memory.subarray(replyAt);
    request.chain.read(0, message);
    share.submit(message, reply, (count) => {
      const answer = reply.subarray(0, count);
      if (this.#saving) {
        request.reply = answer.slice();
        this.#later.set(0);
      } else if (this.#requests.has(request)) {
        // Else a reset came.
        this.#answer(request, answer);
      }
      share.give(memory);
    });
  }

  #answer(request: Request, reply: Uint8Array): void {
    this.#requests.delete(request);
    const queue = this.#driver?.queues[0];
    if (queue?.holds(request.chain) === true) {
      queue.complete(request.chain, request.chain.write(0, reply));
    }
  }

  resetQueue(): void {
    this.#requests.clear();
  }

  reset(): void {
    this.#driver = undefined;
    this.#later.cancel();
    this.#requests.clear();
    this.#share.reset();
  }

  /** Waits for what is under way on the host: whether a message was carried out must not be open afterwards. */
  save(): StateValue {
    this.#saving = true;
    try {
      this.#share.settle();
    } finally {
      this.#saving = false;
    }
    const { messageBytes, fids } = this.#share.save();
    return {
      tag: this.#tag,
      messageBytes,
      fids,
      requests: [...this.#requests].map(({ chain, reply }) => ({ chain: chain.save(), reply: reply ?? null })),
    };
  }

  load(reader: StateReader, driver: ActiveDriver | undefined): void {
    const tag = reader.string('tag', MAX_TAG_BYTES);
    if (tag !== this.#tag) {
      reader.refuse(`the share was called ${tag} when this was saved`);
    }
    const session = readShareState(reader);
    const requests = reader.objects('requests', undefined, QUEUE_SIZE).map((item): Request => {
      const reply = item.value('reply') === null ? undefined : item.bytes('reply', undefined, MAX_MESSAGE_BYTES);
      const chain = driver?.queues[0]?.adopt(item.object('chain'));
      return chain === undefined ? item.refuse('a request of a device that sleeps') : { chain, reply };
    });
    this.#driver = driver;
    this.#requests.clear();
    this.#share.load(session);
    for (const request of requests) {
      this.#requests.add(request);
    }
    if (requests.length > 0) {
      this.#later.set(0);
    } else {
      this.#later.cancel();
    }
  }

  describe(): string {
    return `shared folder ${this.#tag}, ${this.#requests.size} requests in flight`;
  }

  dispose(): void {
    this.#later.dispose();
    this.#requests.clear();
  }
}

function tooLong(tag: number): Uint8Array {
  const bytes = new Uint8Array(ERROR_REPLY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(MESSAGE.size, ERROR_REPLY_BYTES, true);
  view.setUint8(MESSAGE.type, ERROR_REPLY_TYPE);
  view.setUint16(MESSAGE.tag, tag, true);
  view.setUint32(MESSAGE_HEADER_BYTES, ERROR_TOO_LONG, true);
  return bytes;
}
