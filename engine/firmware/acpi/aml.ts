import { assert } from '../../base/assert.ts';

/**
 * Encoders for the parts of the ACPI Machine Language that this machine's tables use (ACPI 6.4, chapter 20). Every
 * function returns the bytes of one term; terms are put together by passing them to the term that holds them.
 */
export type Aml = Uint8Array;

export function bytes(...parts: (number | Aml)[]): Aml {
  let length = 0;
  for (const part of parts) {
    length += typeof part === 'number' ? 1 : part.length;
  }
  const result = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    if (typeof part === 'number') {
      result[at++] = part;
    } else {
      result.set(part, at);
      at += part.length;
    }
  }
  return result;
}

export function u16(value: number): Aml {
  return Uint8Array.of(value, value >>> 8);
}

export function u32(value: number): Aml {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}

export function u64(value: number): Aml {
  return bytes(u32(value % 0x1_0000_0000), u32(Math.floor(value / 0x1_0000_0000)));
}

/** PkgLength of a number that does not count its own bytes (20.2.4); used as it is for the widths of fields. */
function encodeLength(value: number): Aml {
  assert(value < 1 << 28, 'an AML package is too long');
  if (value < 0x40) {
    return Uint8Array.of(value);
  }
  const following = value < 1 << 12 ? 1 : value < 1 << 20 ? 2 : 3;
  return bytes((following << 6) | (value & 0xf), u32(value >>> 4).subarray(0, following));
}

/** A term with PkgLength, which counts the bytes of the length itself. */
function packaged(opcode: readonly number[], ...content: (number | Aml)[]): Aml {
  const body = bytes(...content);
  for (let own = 1; own <= 4; own++) {
    const length = encodeLength(body.length + own);
    if (length.length === own) {
      return bytes(...opcode, length, body);
    }
  }
  throw new RangeError('unreachable');
}

function segment(name: string): Aml {
  assert(/^[A-Z_][A-Z0-9_]{0,3}$/.test(name), `AML name '${name}'`);
  return Buffer.from(name.padEnd(4, '_'), 'latin1');
}

/** A NameString such as `\\_SB.PCI0` or `^LNKA` (20.2.2). */
export function path(name: string): Aml {
  const match = /^(\\|\^*)(.*)$/.exec(name);
  const prefix = match?.[1] ?? '';
  const rest = match?.[2] ?? '';
  const segments = rest === '' ? [] : rest.split('.').map(segment);
  const head = new Uint8Array(Buffer.from(prefix, 'latin1'));
  switch (segments.length) {
    case 0:
      return bytes(head, 0x00);
    case 1:
      return bytes(head, ...segments);
    case 2:
      return bytes(head, 0x2e, ...segments);
    default:
      return bytes(head, 0x2f, segments.length, ...segments);
  }
}

/** An integer constant in its shortest form (20.2.3); up to 2^53. */
export function integer(value: number): Aml {
  assert(Number.isSafeInteger(value) && value >= 0, `AML integer ${value}`);
  if (value <= 1) {
    return Uint8Array.of(value);
  }
  if (value <= 0xff) {
    return bytes(0x0a, value);
  }
  if (value <= 0xffff) {
    return bytes(0x0b, u16(value));
  }
  return value <= 0xffffffff ? bytes(0x0c, u32(value)) : bytes(0x0e, u64(value));
}

export function string(value: string): Aml {
  return bytes(0x0d, Buffer.from(value, 'latin1'), 0);
}

/** The compressed form of a plug-and-play id such as `PNP0A03` (19.6.37). */
export function eisaId(id: string): Aml {
  assert(/^[A-Z]{3}[0-9A-F]{4}$/.test(id), `EISA id '${id}'`);
  const letter = (index: number) => id.charCodeAt(index) - 0x40;
  const value = (letter(0) << 26) | (letter(1) << 21) | (letter(2) << 16) | Number.parseInt(id.slice(3), 16);
  // Stored most significant byte first, as the little-endian constant of the bytes turned round.
  return bytes(0x0c, value >>> 24, value >>> 16, value >>> 8, value);
}

export function name(of: string, value: Aml): Aml {
  return bytes(0x08, path(of), value);
}

export function scope(of: string, ...terms: Aml[]): Aml {
  return packaged([0x10], path(of), ...terms);
}

export function device(of: string, ...terms: Aml[]): Aml {
  return packaged([0x5b, 0x82], path(of), ...terms);
}

/** A processor without a register block: it has no throttling and no C-states but C1. */
export function processor(of: string, id: number): Aml {
  return packaged([0x5b, 0x83], path(of), id, u32(0), 0);
}

/** Methods here are all serialized: those that create names have to be, and none is called often. */
export function method(of: string, argumentCount: number, ...terms: Aml[]): Aml {
  return packaged([0x14], path(of), argumentCount | 0x08, ...terms);
}

export function buffer(content: Aml): Aml {
  return packaged([0x11], integer(content.length), content);
}

export function packageOf(...elements: Aml[]): Aml {
  return packaged([0x12], elements.length, ...elements);
}

export const REGION_SYSTEM_IO = 1;
export const REGION_PCI_CONFIG = 2;

export function operationRegion(of: string, space: number, offset: number, length: number): Aml {
  return bytes(0x5b, 0x80, path(of), space, integer(offset), integer(length));
}

/** Named fields of `region`, in order, each with its width in bits; accessed as bytes, without lock, preserving the rest. */
export function byteFields(region: string, fields: readonly (readonly [string, number])[]): Aml {
  return packaged(
    [0x5b, 0x81],
    path(region),
    0x01,
    ...fields.flatMap(([field, bits]) => [segment(field), encodeLength(bits)]),
  );
}

export function createDwordField(of: Aml, byteOffset: number, as: string): Aml {
  return bytes(0x8a, of, integer(byteOffset), path(as));
}

export function argument(index: number): Aml {
  return Uint8Array.of(0x68 + index);
}

export function store(value: Aml, target: Aml): Aml {
  return bytes(0x70, value, target);
}

/** `left & right`, stored in `target` when given. */
export function and(left: Aml, right: Aml, target: Aml = Uint8Array.of(0)): Aml {
  return bytes(0x7b, left, right, target);
}

export function or(left: Aml, right: Aml, target: Aml = Uint8Array.of(0)): Aml {
  return bytes(0x7d, left, right, target);
}

export function when(condition: Aml, ...terms: Aml[]): Aml {
  return packaged([0xa0], condition, ...terms);
}

export function otherwise(...terms: Aml[]): Aml {
  return packaged([0xa1], ...terms);
}

/** Tells the operating system that something has happened to a device. */
export function notify(of: Aml, value: number): Aml {
  return bytes(0x86, of, integer(value));
}

export function returns(value: Aml): Aml {
  return bytes(0xa4, value);
}
