import { HostError } from '../base/host-error.ts';

/**
 * The table loader: a script by which the firmware places blobs in guest memory, links them with pointers and fixes
 * their checksums. Commands are 128 bytes, little endian; file names are 56 bytes, zero-padded.
 */
export type LoaderCommand =
  | { readonly kind: 'allocate'; readonly file: string; readonly align: number; readonly zone: 'high' | 'fseg' }
  /** Adds the address of `source` to the `size` bytes at `offset` of `file`. */
  | {
      readonly kind: 'add-pointer';
      readonly file: string;
      readonly source: string;
      readonly offset: number;
      readonly size: 1 | 2 | 4 | 8;
    }
  /** Sets the byte at `offset` of `file` so that `length` bytes from `start` add up to 0. */
  | {
      readonly kind: 'add-checksum';
      readonly file: string;
      readonly offset: number;
      readonly start: number;
      readonly length: number;
    };

const COMMAND_LENGTH = 128;
const NAME_LENGTH = 56;
const ALLOCATE = 1;
const ADD_POINTER = 2;
const ADD_CHECKSUM = 3;
const ZONE_HIGH = 1;
const ZONE_FSEG = 2;

export function encodeLoaderScript(commands: readonly LoaderCommand[]): Uint8Array {
  const bytes = new Uint8Array(commands.length * COMMAND_LENGTH);
  const view = new DataView(bytes.buffer);
  for (const [index, command] of commands.entries()) {
    const at = index * COMMAND_LENGTH;
    bytes.set(Buffer.from(command.file, 'latin1'), at + 4);
    const rest = at + 4 + NAME_LENGTH;
    switch (command.kind) {
      case 'allocate':
        view.setUint32(at, ALLOCATE, true);
        view.setUint32(rest, command.align, true);
        bytes[rest + 4] = command.zone === 'high' ? ZONE_HIGH : ZONE_FSEG;
        break;
      case 'add-pointer':
        view.setUint32(at, ADD_POINTER, true);
        bytes.set(Buffer.from(command.source, 'latin1'), rest);
        view.setUint32(rest + NAME_LENGTH, command.offset, true);
        bytes[rest + NAME_LENGTH + 4] = command.size;
        break;
      case 'add-checksum':
        view.setUint32(at, ADD_CHECKSUM, true);
        view.setUint32(rest, command.offset, true);
        view.setUint32(rest + 4, command.start, true);
        view.setUint32(rest + 8, command.length, true);
        break;
    }
  }
  return bytes;
}

export interface PlacedBlob {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/**
 * Carries out a script, as firmware would. `allocate` finds room for a blob. Returns the finished blobs by name; the
 * caller writes them to memory.
 */
export function runLoaderScript(
  commands: readonly LoaderCommand[],
  files: ReadonlyMap<string, Uint8Array>,
  allocate: (length: number, align: number, zone: 'high' | 'fseg') => number,
): Map<string, PlacedBlob> {
  const placed = new Map<string, PlacedBlob>();
  const find = (name: string): PlacedBlob => {
    const blob = placed.get(name);
    if (blob === undefined) {
      throw new HostError('bad-tables', `the table loader script uses '${name}' before it is placed`);
    }
    return blob;
  };
  for (const command of commands) {
    switch (command.kind) {
      case 'allocate': {
        const bytes = files.get(command.file);
        if (bytes === undefined) {
          throw new HostError('bad-tables', `the table loader script places '${command.file}', which does not exist`);
        }
        placed.set(command.file, {
          address: allocate(bytes.length, command.align, command.zone),
          bytes: bytes.slice(),
        });
        break;
      }
      case 'add-pointer': {
        const { bytes } = find(command.file);
        let sum = BigInt(find(command.source).address);
        for (let i = 0; i < command.size; i++) {
          sum += BigInt(bytes[command.offset + i] ?? 0) << BigInt(i * 8);
        }
        for (let i = 0; i < command.size; i++) {
          bytes[command.offset + i] = Number((sum >> BigInt(i * 8)) & 0xffn);
        }
        break;
      }
      case 'add-checksum': {
        const { bytes } = find(command.file);
        let sum = 0;
        for (const byte of bytes.subarray(command.start, command.start + command.length)) {
          sum += byte;
        }
        bytes[command.offset] = ((bytes[command.offset] ?? 0) - sum) & 0xff;
        break;
      }
    }
  }
  return placed;
}
