/**
 * The keys of PS/2 keyboards with 101 to 109 keys by their physical names (W3C UI Events KeyboardEvent code values) and the
 * bytes they send in scan code sets 1, 2 and 3 (IBM PS/2 Hardware Interface Technical Reference, keyboards).
 */

export type ScanSet = 1 | 2 | 3;

interface KeyCodes {
  /** Make code in set 2; with `extended` it is preceded by E0. */
  readonly set2: number;
  readonly extended: boolean;
  /** Make code in set 3, always one byte; 0: the key has none. */
  readonly set3: number;
}

/** Keys with one make code in set 2, and their code in set 3. */
const PLAIN: Readonly<Record<string, readonly [set2: number, set3: number]>> = {
  Backquote: [0x0e, 0x0e],
  Digit1: [0x16, 0x16],
  Digit2: [0x1e, 0x1e],
  Digit3: [0x26, 0x26],
  Digit4: [0x25, 0x25],
  Digit5: [0x2e, 0x2e],
  Digit6: [0x36, 0x36],
  Digit7: [0x3d, 0x3d],
  Digit8: [0x3e, 0x3e],
  Digit9: [0x46, 0x46],
  Digit0: [0x45, 0x45],
  Minus: [0x4e, 0x4e],
  Equal: [0x55, 0x55],
  Backspace: [0x66, 0x66],
  Tab: [0x0d, 0x0d],
  KeyQ: [0x15, 0x15],
  KeyW: [0x1d, 0x1d],
  KeyE: [0x24, 0x24],
  KeyR: [0x2d, 0x2d],
  KeyT: [0x2c, 0x2c],
  KeyY: [0x35, 0x35],
  KeyU: [0x3c, 0x3c],
  KeyI: [0x43, 0x43],
  KeyO: [0x44, 0x44],
  KeyP: [0x4d, 0x4d],
  BracketLeft: [0x54, 0x54],
  BracketRight: [0x5b, 0x5b],
  Backslash: [0x5d, 0x5c],
  CapsLock: [0x58, 0x14],
  KeyA: [0x1c, 0x1c],
  KeyS: [0x1b, 0x1b],
  KeyD: [0x23, 0x23],
  KeyF: [0x2b, 0x2b],
  KeyG: [0x34, 0x34],
  KeyH: [0x33, 0x33],
  KeyJ: [0x3b, 0x3b],
  KeyK: [0x42, 0x42],
  KeyL: [0x4b, 0x4b],
  Semicolon: [0x4c, 0x4c],
  Quote: [0x52, 0x52],
  Enter: [0x5a, 0x5a],
  ShiftLeft: [0x12, 0x12],
  IntlBackslash: [0x61, 0x13],
  KeyZ: [0x1a, 0x1a],
  KeyX: [0x22, 0x22],
  KeyC: [0x21, 0x21],
  KeyV: [0x2a, 0x2a],
  KeyB: [0x32, 0x32],
  KeyN: [0x31, 0x31],
  KeyM: [0x3a, 0x3a],
  Comma: [0x41, 0x41],
  Period: [0x49, 0x49],
  Slash: [0x4a, 0x4a],
  ShiftRight: [0x59, 0x59],
  ControlLeft: [0x14, 0x11],
  AltLeft: [0x11, 0x19],
  Space: [0x29, 0x29],
  Escape: [0x76, 0x08],
  F1: [0x05, 0x07],
  F2: [0x06, 0x0f],
  F3: [0x04, 0x17],
  F4: [0x0c, 0x1f],
  F5: [0x03, 0x27],
  F6: [0x0b, 0x2f],
  F7: [0x83, 0x37],
  F8: [0x0a, 0x3f],
  F9: [0x01, 0x47],
  F10: [0x09, 0x4f],
  F11: [0x78, 0x56],
  F12: [0x07, 0x5e],
  ScrollLock: [0x7e, 0x5f],
  NumLock: [0x77, 0x76],
  NumpadMultiply: [0x7c, 0x7e],
  NumpadSubtract: [0x7b, 0x84],
  NumpadAdd: [0x79, 0x7c],
  NumpadDecimal: [0x71, 0x71],
  Numpad0: [0x70, 0x70],
  Numpad1: [0x69, 0x69],
  Numpad2: [0x72, 0x72],
  Numpad3: [0x7a, 0x7a],
  Numpad4: [0x6b, 0x6b],
  Numpad5: [0x73, 0x73],
  Numpad6: [0x74, 0x74],
  Numpad7: [0x6c, 0x6c],
  Numpad8: [0x75, 0x75],
  Numpad9: [0x7d, 0x7d],
  NumpadEqual: [0x0f, 0],
  NumpadComma: [0x6d, 0],
  // Japanese and Brazilian keys
  IntlRo: [0x51, 0x51],
  IntlYen: [0x6a, 0x5d],
  Convert: [0x64, 0x86],
  NonConvert: [0x67, 0x85],
  KanaMode: [0x13, 0x87],
  Lang3: [0x63, 0],
  Lang4: [0x62, 0],
  Lang5: [0x5f, 0],
};

/**
 * Hangul and Hanja of Korean keyboards: one byte when they are pressed, the same in sets 1 and 2, none when they are
 * released, and no repetition (Microsoft, Keyboard Scan Code Specification).
 */
const MAKE_ONLY: Readonly<Record<string, number>> = { Lang1: 0xf2, Lang2: 0xf1 };

/** Keys whose code in set 2 is preceded by E0. */
const EXTENDED: Readonly<Record<string, readonly [set2: number, set3: number]>> = {
  ControlRight: [0x14, 0x58],
  AltRight: [0x11, 0x39],
  MetaLeft: [0x1f, 0x8b],
  MetaRight: [0x27, 0x8c],
  ContextMenu: [0x2f, 0x8d],
  Insert: [0x70, 0x67],
  Home: [0x6c, 0x6e],
  PageUp: [0x7d, 0x6f],
  Delete: [0x71, 0x64],
  End: [0x69, 0x65],
  PageDown: [0x7a, 0x6d],
  ArrowUp: [0x75, 0x63],
  ArrowLeft: [0x6b, 0x61],
  ArrowDown: [0x72, 0x60],
  ArrowRight: [0x74, 0x6a],
  NumpadDivide: [0x4a, 0x77],
  NumpadEnter: [0x5a, 0x79],
  Power: [0x37, 0],
  Sleep: [0x3f, 0],
  WakeUp: [0x5e, 0],
  AudioVolumeMute: [0x23, 0],
  AudioVolumeDown: [0x21, 0],
  AudioVolumeUp: [0x32, 0],
  MediaTrackNext: [0x4d, 0],
  MediaTrackPrevious: [0x15, 0],
  MediaStop: [0x3b, 0],
  MediaPlayPause: [0x34, 0],
  MediaSelect: [0x50, 0],
  LaunchMail: [0x48, 0],
  LaunchApp1: [0x40, 0],
  LaunchApp2: [0x2b, 0],
  BrowserHome: [0x3a, 0],
  BrowserSearch: [0x10, 0],
  BrowserFavorites: [0x18, 0],
  BrowserRefresh: [0x20, 0],
  BrowserStop: [0x28, 0],
  BrowserForward: [0x30, 0],
  BrowserBack: [0x38, 0],
};

/** Set 3 codes of the two keys that have sequences of their own in sets 1 and 2. */
const SET3_PRINT_SCREEN = 0x57;
const SET3_PAUSE = 0x62;

const KEYS: ReadonlyMap<string, KeyCodes> = new Map<string, KeyCodes>([
  ...Object.entries(PLAIN).map(([name, [set2, set3]]) => [name, { set2, extended: false, set3 }] as const),
  ...Object.entries(EXTENDED).map(([name, [set2, set3]]) => [name, { set2, extended: true, set3 }] as const),
]);

/** Names of all keys, for state validation and for tests. */
export const KEY_NAMES: readonly string[] = [...KEYS.keys(), ...Object.keys(MAKE_ONLY), 'PrintScreen', 'Pause'];

export function isKeyName(name: string): boolean {
  return KEYS.has(name) || Object.hasOwn(MAKE_ONLY, name) || name === 'PrintScreen' || name === 'Pause';
}

/** Whether a key that stays down is sent again and again in sets 1 and 2. */
export function isTypematic(name: string): boolean {
  return name !== 'Pause' && !Object.hasOwn(MAKE_ONLY, name);
}

/**
 * What the keyboard controller makes of a set 2 byte when translation is on. Bytes from 80h up pass unchanged but
 * for F7 (83h) and SysRq (84h); the prefix F0 is no byte of its own but sets bit 7 of what follows.
 */
const SET2_TO_SET1 = Uint8Array.of(
  ...[0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59],
  ...[0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b],
  ...[0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d],
  ...[0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f],
  ...[0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61],
  ...[0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76],
  ...[0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f],
  ...[0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54],
);

export function translateSet2(byte: number): number {
  if (byte < 0x80) {
    return SET2_TO_SET1[byte] ?? byte;
  }
  return byte === 0x83 ? 0x41 : byte === 0x84 ? 0x54 : byte;
}

/** Modifier keys that are down, as far as they change what PrintScreen and Pause send. */
export interface HeldModifiers {
  readonly control: boolean;
  readonly shift: boolean;
  readonly alt: boolean;
}

const NOTHING: readonly number[] = [];

/** The bytes in set 2, as a list of sequences in which F0 precedes the code of a released key. */
function set2Sequence(name: string, down: boolean, held: HeldModifiers): readonly number[] {
  if (name === 'PrintScreen') {
    if (held.alt) {
      return down ? [0x84] : [0xf0, 0x84]; // SysRq
    }
    if (held.control || held.shift) {
      return down ? [0xe0, 0x7c] : [0xe0, 0xf0, 0x7c];
    }
    return down ? [0xe0, 0x12, 0xe0, 0x7c] : [0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12];
  }
  if (name === 'Pause') {
    // Make and break at once; with Control it is Break.
    if (!down) {
      return NOTHING;
    }
    return held.control ? [0xe0, 0x7e, 0xe0, 0xf0, 0x7e] : [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77];
  }
  const single = Object.hasOwn(MAKE_ONLY, name) ? MAKE_ONLY[name] : undefined;
  if (single !== undefined) {
    return down ? [single] : NOTHING;
  }
  const key = KEYS.get(name);
  if (key === undefined) {
    return NOTHING;
  }
  const code = down ? [key.set2] : [0xf0, key.set2];
  return key.extended ? [0xe0, ...code] : code;
}

/** The set 3 code of a key, or 0 when it has none. */
export function set3Code(name: string): number {
  switch (name) {
    case 'PrintScreen':
      return SET3_PRINT_SCREEN;
    case 'Pause':
      return SET3_PAUSE;
    default:
      return KEYS.get(name)?.set3 ?? 0;
  }
}

/**
 * The bytes that pressing or releasing a key sends; empty for an unknown key and where the set has no code for it.
 * Navigation keys are sent without the shift codes that real keyboards wrap around them to undo Shift and NumLock:
 * no system that knows the E0 prefix looks at those.
 */
export function scanSequence(name: string, set: ScanSet, down: boolean, held: HeldModifiers): readonly number[] {
  if (set === 3) {
    const code = set3Code(name);
    return code === 0 ? NOTHING : down ? [code] : [0xf0, code];
  }
  const bytes = set2Sequence(name, down, held);
  if (set === 2) {
    return bytes;
  }
  const translated: number[] = [];
  let release = 0;
  for (const byte of bytes) {
    if (byte === 0xf0) {
      release = 0x80;
    } else {
      translated.push(byte >= 0xe0 ? byte : translateSet2(byte) | release);
      release = byte >= 0xe0 ? release : 0;
    }
  }
  return translated;
}
