import { z } from 'zod';
import { errorDataSchema } from './errors.ts';

/**
 * The messages of one connection between a client and the services, whatever carries them: JSON text, but for items of
 * binary feeds, which are binary messages of `u32 id of the subscription, little-endian`, then the item.
 */

/** Numbers calls and subscriptions of one client; each number is used once. */
const id = z.int().min(0).max(0xffffffff);

export const clientMessageSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('call'), id, name: z.string().max(100), args: z.unknown() }),
  z.object({ kind: z.literal('subscribe'), id, name: z.string().max(100), args: z.unknown() }),
  /** A frame packet was drawn. */
  z.object({ kind: z.literal('ack'), id, sequence: z.int().min(0).max(0xffffffff) }),
  z.object({ kind: z.literal('unsubscribe'), id }),
]);
export type ClientMessage = z.infer<typeof clientMessageSchema>;

export const serverMessageSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('result'), id, value: z.unknown() }),
  z.object({ kind: z.literal('error'), id, error: errorDataSchema }),
  z.object({ kind: z.literal('item'), id, item: z.unknown() }),
  /** The last message of a subscription: because it was refused, failed, or its subject is gone. */
  z.object({ kind: z.literal('end'), id, error: errorDataSchema.optional() }),
]);
export type ServerMessage = z.infer<typeof serverMessageSchema>;

/** The largest text message that a client may send: a long `console.sendText` fits many times. */
export const MAX_CLIENT_MESSAGE_BYTES = 1 << 20;

const ID_BYTES = 4;

/** Puts the subscription's id before an item of a binary feed. */
export function encodeBytesItem(subscription: number, item: Uint8Array): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(ID_BYTES + item.length);
  new DataView(message.buffer).setUint32(0, subscription, true);
  message.set(item, ID_BYTES);
  return message;
}

/** Undefined when the message is too short to be one. `item` is a view into it. */
export function decodeBytesItem(
  message: Uint8Array<ArrayBuffer>,
): { readonly id: number; readonly item: Uint8Array<ArrayBuffer> } | undefined {
  if (message.length < ID_BYTES) {
    return undefined;
  }
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  return { id: view.getUint32(0, true), item: message.subarray(ID_BYTES) };
}
