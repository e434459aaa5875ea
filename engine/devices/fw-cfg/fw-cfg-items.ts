import { assert } from '../../base/assert.ts';

/** Selector keys with a fixed meaning (QEMU firmware configuration device, as SeaBIOS and Linux know it). */
export const FW_CFG_SIGNATURE = 0x00;
export const FW_CFG_ID = 0x01;
export const FW_CFG_UUID = 0x02;
export const FW_CFG_RAM_SIZE = 0x03;
export const FW_CFG_NOGRAPHIC = 0x04;
export const FW_CFG_NB_CPUS = 0x05;
export const FW_CFG_NUMA = 0x0d;
export const FW_CFG_BOOT_MENU = 0x0e;
export const FW_CFG_MAX_CPUS = 0x0f;
export const FW_CFG_FILE_DIR = 0x19;
export const FW_CFG_FILE_FIRST = 0x20;
/** Keys of the PC: bit 15 marks keys that belong to an architecture. */
export const FW_CFG_IRQ0_OVERRIDE = 0x8002;

/** In the value of FW_CFG_ID: the selector/data ports, and the DMA interface. */
export const FW_CFG_VERSION = 1 << 0;
export const FW_CFG_VERSION_DMA = 1 << 1;

const NAME_LENGTH = 56;
const MAX_FILES = 0x1000;

export function littleEndian16(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8);
}

export function littleEndian32(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}

/** Eight bytes, least significant first; `value` is a safe integer. */
export function littleEndian64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

/** Text with the terminating zero byte that firmware expects. */
export function zeroTerminated(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(`${text}\0`, 'utf8'));
}

/** What the firmware is told: numbered items, and named files which it finds through the directory. */
export class FwCfgItems {
  readonly #items = new Map<number, Uint8Array>();
  readonly #files = new Map<string, Uint8Array>();
  #directory: ReadonlyMap<number, Uint8Array> | undefined;

  constructor() {
    this.set(FW_CFG_SIGNATURE, new Uint8Array(Buffer.from('QEMU', 'latin1')));
    this.set(FW_CFG_ID, littleEndian32(FW_CFG_VERSION | FW_CFG_VERSION_DMA));
  }

  set(key: number, bytes: Uint8Array): this {
    assert(key >= 0 && key <= 0xffff && (key < FW_CFG_FILE_FIRST || key >= 0x8000), `fw_cfg key ${key}`);
    this.#items.set(key, bytes);
    this.#directory = undefined;
    return this;
  }

  /** Adds or replaces the file `name`: at most 55 ASCII characters. */
  file(name: string, bytes: Uint8Array): this {
    assert(/^[\x21-\x7e]{1,55}$/.test(name), `fw_cfg file name '${name}'`);
    this.#files.set(name, bytes);
    assert(this.#files.size <= MAX_FILES, 'too many fw_cfg files');
    this.#directory = undefined;
    return this;
  }

  get fileNames(): readonly string[] {
    return [...this.#files.keys()].sort();
  }

  /** The contents of `name`, or undefined. */
  readFile(name: string): Uint8Array | undefined {
    return this.#files.get(name);
  }

  /** The item selected by `key`, or undefined. */
  item(key: number): Uint8Array | undefined {
    this.#directory ??= this.#build();
    return this.#items.get(key) ?? this.#directory.get(key);
  }

  /** Files get their keys in order of name, so that the same set always has the same keys. Directory: all big endian. */
  #build(): ReadonlyMap<number, Uint8Array> {
    const built = new Map<number, Uint8Array>();
    const names = this.fileNames;
    const entry = 8 + NAME_LENGTH;
    const directory = new Uint8Array(4 + names.length * entry);
    const view = new DataView(directory.buffer);
    view.setUint32(0, names.length);
    for (const [index, name] of names.entries()) {
      const bytes = this.#files.get(name) ?? new Uint8Array();
      const key = FW_CFG_FILE_FIRST + index;
      const at = 4 + index * entry;
      view.setUint32(at, bytes.length);
      view.setUint16(at + 4, key);
      directory.set(Buffer.from(name, 'latin1'), at + 8);
      built.set(key, bytes);
    }
    built.set(FW_CFG_FILE_DIR, directory);
    return built;
  }
}
