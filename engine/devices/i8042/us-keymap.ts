import { isKeyName } from './keys.ts';

/** A press or release of a key, by its W3C `KeyboardEvent.code` name. */
export interface KeyEvent {
  readonly code: string;
  readonly down: boolean;
}

/** The events that type one character or chord. */
export type Keystroke = readonly KeyEvent[];

/** Characters of the US layout by key: alone, and with Shift. */
const CHARACTERS: readonly (readonly [code: string, plain: string, shifted: string])[] = [
  ['Backquote', '`', '~'],
  ['Digit1', '1', '!'],
  ['Digit2', '2', '@'],
  ['Digit3', '3', '#'],
  ['Digit4', '4', '$'],
  ['Digit5', '5', '%'],
  ['Digit6', '6', '^'],
  ['Digit7', '7', '&'],
  ['Digit8', '8', '*'],
  ['Digit9', '9', '('],
  ['Digit0', '0', ')'],
  ['Minus', '-', '_'],
  ['Equal', '=', '+'],
  ['BracketLeft', '[', '{'],
  ['BracketRight', ']', '}'],
  ['Backslash', '\\', '|'],
  ['Semicolon', ';', ':'],
  ['Quote', "'", '"'],
  ['Comma', ',', '<'],
  ['Period', '.', '>'],
  ['Slash', '/', '?'],
  ...[...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'].map((letter) => [`Key${letter}`, letter.toLowerCase(), letter] as const),
];

const SINGLE: ReadonlyMap<string, string> = new Map([
  ...CHARACTERS.map(([code, plain]) => [plain, code] as const),
  [' ', 'Space'],
  ['\n', 'Enter'],
  ['\r', 'Enter'],
  ['\t', 'Tab'],
  ['\b', 'Backspace'],
  ['\x7f', 'Backspace'],
  ['\x1b', 'Escape'],
]);

const SHIFTED: ReadonlyMap<string, string> = new Map(CHARACTERS.map(([code, , shifted]) => [shifted, code]));

/** Short names for keys in braces, beside the W3C names. */
const ALIASES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    ctrl: 'ControlLeft',
    control: 'ControlLeft',
    shift: 'ShiftLeft',
    alt: 'AltLeft',
    altgr: 'AltRight',
    meta: 'MetaLeft',
    win: 'MetaLeft',
    super: 'MetaLeft',
    menu: 'ContextMenu',
    esc: 'Escape',
    return: 'Enter',
    up: 'ArrowUp',
    down: 'ArrowDown',
    left: 'ArrowLeft',
    right: 'ArrowRight',
    pgup: 'PageUp',
    pgdn: 'PageDown',
    del: 'Delete',
    ins: 'Insert',
    sysrq: 'PrintScreen',
    break: 'Pause',
    hangul: 'Lang1',
    hanja: 'Lang2',
  }),
);

/** Presses `codes` in order and releases them in reverse order. */
export function chord(codes: readonly string[]): Keystroke {
  return [...codes.map((code) => ({ code, down: true })), ...codes.toReversed().map((code) => ({ code, down: false }))];
}

function keyNamed(name: string): string | undefined {
  if (isKeyName(name)) {
    return name;
  }
  return ALIASES.get(name.toLowerCase()) ?? SINGLE.get(name.toLowerCase());
}

/** The keystroke for `{…}`: one key or several joined by `+`; undefined when one of them is no key. */
function namedKeystroke(names: string): Keystroke | undefined {
  const codes = names.split('+').map(keyNamed);
  return codes.every((code) => code !== undefined) ? chord(codes) : undefined;
}

function characterKeystroke(character: string): Keystroke | undefined {
  const plain = SINGLE.get(character);
  if (plain !== undefined) {
    return chord([plain]);
  }
  const shifted = SHIFTED.get(character);
  if (shifted !== undefined) {
    return chord(['ShiftLeft', shifted]);
  }
  const code = character.charCodeAt(0);
  // The other control characters: Control with the letter 40h further on.
  const letter = code < 0x20 ? SINGLE.get(String.fromCharCode(code + 0x60)) : undefined;
  return letter === undefined ? undefined : chord(['ControlLeft', letter]);
}

/**
 * The keystrokes that type `text` on a US keyboard. Keys without a character are written in braces by their W3C name
 * or a short name, chords with `+`: `{ArrowDown}`, `{F12}`, `{Ctrl+Alt+Delete}`. Braces around anything else stand for
 * themselves, and `{{` is always a brace. `unknown` lists the characters that the layout does not have.
 */
export function typeText(text: string): { readonly strokes: Keystroke[]; readonly unknown: string[] } {
  const strokes: Keystroke[] = [];
  const unknown: string[] = [];
  let at = 0;
  while (at < text.length) {
    if (text.startsWith('{{', at)) {
      strokes.push(chord(['ShiftLeft', 'BracketLeft']));
      at += 2;
      continue;
    }
    const named = /^\{([A-Za-z0-9+]{1,60})\}/.exec(text.slice(at, at + 64));
    const namedStroke = named?.[1] === undefined ? undefined : namedKeystroke(named[1]);
    if (named !== null && namedStroke !== undefined) {
      strokes.push(namedStroke);
      at += named[0].length;
      continue;
    }
    const character = String.fromCodePoint(text.codePointAt(at) ?? 0);
    at += character.length;
    if (character === '\r' && text[at] === '\n') {
      continue;
    }
    const stroke = characterKeystroke(character);
    if (stroke === undefined) {
      unknown.push(character);
    } else {
      strokes.push(stroke);
    }
  }
  return { strokes, unknown };
}
