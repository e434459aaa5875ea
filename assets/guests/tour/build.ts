import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assemble } from '../../../engine/testing/assembler/assembler.ts';

export interface TourOptions {
  /** Powers the machine off right after `TOUR READY`. */
  readonly autoquit?: boolean;
}

/** The image has the size of a 1.44 MB floppy, so that it boots as floppy and as hard disk. */
export const TOUR_IMAGE_BYTES = 2880 * 512;
/** The sector that the guest reads back and compares: SIGNATURE_LBA in probe-disk.asm. */
export const TOUR_SIGNATURE_LBA = 2000;

const SIGNATURE_TEXT = 'LODGE SIGNATURE!';
const SIGNATURE_SEED = 0x4c6f6467;
const CONFIG_OFFSET = 512;
const CONFIG_TEXT = 'LODGE TOUR CFG 1';
const CONFIG_AUTOQUIT = 1;
/** The boot sector loads everything to 0x7C00 at once; behind it must stay room below 64 KiB. */
const MAX_CODE_BYTES = 65 * 512;

const folder = dirname(fileURLToPath(import.meta.url));

/** Assembles the demonstration guest: a raw disk image with its boot sector first. */
export function buildTour(options: TourOptions = {}): Uint8Array {
  const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
  const code = assemble(read('tour.asm'), { file: 'tour.asm', include: read }).bytes;
  if (code.length > MAX_CODE_BYTES) throw new Error(`the tour's code has ${code.length} bytes, too many to load`);
  const image = new Uint8Array(TOUR_IMAGE_BYTES);
  image.set(code);
  const view = new DataView(image.buffer);
  const config = new TextDecoder().decode(image.subarray(CONFIG_OFFSET, CONFIG_OFFSET + CONFIG_TEXT.length));
  if (config !== CONFIG_TEXT) throw new Error('the tour has no configuration sector');
  view.setUint32(CONFIG_OFFSET + CONFIG_TEXT.length, options.autoquit === true ? CONFIG_AUTOQUIT : 0, true);
  image.set(signatureSector(), TOUR_SIGNATURE_LBA * 512);
  return image;
}

/** A text and 124 numbers of a linear congruential generator, which the guest computes again. */
function signatureSector(): Uint8Array {
  const sector = new Uint8Array(512);
  const view = new DataView(sector.buffer);
  sector.set(new TextEncoder().encode(SIGNATURE_TEXT));
  let state = SIGNATURE_SEED;
  for (let offset = SIGNATURE_TEXT.length; offset < 512; offset += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    view.setUint32(offset, state, true);
  }
  return sector;
}

if (process.argv[1] !== undefined && fileURLToPath(import.meta.url) === process.argv[1]) {
  const [output, ...flags] = process.argv.slice(2);
  const unknown = flags.filter((flag) => flag !== '--autoquit');
  if (output === undefined || output.startsWith('-') || unknown.length > 0) {
    console.error('usage: build.ts OUT.img [--autoquit]');
    process.exitCode = 2;
  } else {
    writeFileSync(output, buildTour({ autoquit: flags.includes('--autoquit') }));
  }
}
