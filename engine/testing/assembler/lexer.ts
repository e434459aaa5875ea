import { AssemblyError, type SourcePlace } from './assembly-error.ts';

/** One token of a source line. `raw` numbers with a fraction or exponent become `float` tokens. */
export type Token =
  | { readonly kind: 'name'; readonly text: string }
  | { readonly kind: 'number'; readonly text: string; readonly value: bigint }
  | { readonly kind: 'float'; readonly text: string; readonly value: number }
  | { readonly kind: 'string'; readonly text: string; readonly bytes: readonly number[] }
  | { readonly kind: 'punctuation'; readonly text: string };

const SPACE = /\s+/y;
const NAME = /[A-Za-z_.?@][\w.$#@~?]*/y;
const FLOAT = /\d[\d_]*\.\d*(?:[eE][+-]?\d+)?|\d[\d_]*[eE][+-]?\d+(?![\w])/y;
const NUMBER = /\d[\w]*/y;
const PUNCTUATION = /\$\$|<<|>>|<=|>=|==|!=|<>|&&|\|\||[-+*/%&|^~!()[\]:,$=<>]/y;

/** Splits a line into tokens; a `;` outside a string starts a comment. */
export function tokenize(line: string, place: SourcePlace): Token[] {
  const tokens: Token[] = [];
  let position = 0;
  const match = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = position;
    const found = pattern.exec(line);
    if (found === null) return undefined;
    position = pattern.lastIndex;
    return found[0];
  };
  while (position < line.length) {
    if (match(SPACE) !== undefined) continue;
    const character = line.charAt(position);
    if (character === ';') break;
    if (character === '"' || character === "'" || character === '`') {
      const end = line.indexOf(character, position + 1);
      if (end < 0) throw new AssemblyError(place, 'string without a closing quote');
      const text = line.slice(position + 1, end);
      tokens.push({ kind: 'string', text, bytes: stringBytes(text, character === '`', place) });
      position = end + 1;
      continue;
    }
    const name = match(NAME);
    if (name !== undefined) {
      tokens.push({ kind: 'name', text: name });
      continue;
    }
    const float = match(FLOAT);
    if (float !== undefined) {
      tokens.push({ kind: 'float', text: float, value: Number(float.replaceAll('_', '')) });
      continue;
    }
    const number = match(NUMBER);
    if (number !== undefined) {
      tokens.push({ kind: 'number', text: number, value: parseNumber(number, place) });
      continue;
    }
    const punctuation = match(PUNCTUATION);
    if (punctuation === undefined) throw new AssemblyError(place, `unexpected character '${character}'`);
    tokens.push({ kind: 'punctuation', text: punctuation });
  }
  return tokens;
}

/** Plain quotes take the text as it is; backquotes know the C escapes. Characters are encoded as UTF-8. */
function stringBytes(text: string, escapes: boolean, place: SourcePlace): number[] {
  if (!escapes) return [...new TextEncoder().encode(text)];
  const unescaped = text.replace(/\\(x[0-9a-fA-F]{1,2}|.)/g, (_, code: string) => {
    if (code.startsWith('x')) return String.fromCharCode(Number.parseInt(code.slice(1), 16));
    const character = { n: '\n', r: '\r', t: '\t', '0': '\0', '\\': '\\', e: '\x1b' }[code];
    if (character === undefined) throw new AssemblyError(place, `unknown escape '\\${code}'`);
    return character;
  });
  return [...new TextEncoder().encode(unescaped)];
}

/** 0x1F, 1Fh, 0b101, 101b, 0o17, 17o, 42, 1_000. */
export function parseNumber(text: string, place: SourcePlace): bigint {
  const plain = text.replaceAll('_', '').toLowerCase();
  if (/^0x[0-9a-f]+$/.test(plain) || /^0b[01]+$/.test(plain) || /^0o[0-7]+$/.test(plain)) return BigInt(plain);
  if (/^\d[0-9a-f]*h$/.test(plain)) return BigInt(`0x${plain.slice(0, -1)}`);
  if (/^[01]+b$/.test(plain)) return BigInt(`0b${plain.slice(0, -1)}`);
  if (/^[0-7]+o$/.test(plain)) return BigInt(`0o${plain.slice(0, -1)}`);
  if (/^\d+$/.test(plain)) return BigInt(plain);
  throw new AssemblyError(place, `bad number '${text}'`);
}
