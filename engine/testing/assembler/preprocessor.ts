import { AssemblyError, type SourcePlace } from './assembly-error.ts';
import { evaluate, parseExpression, TokenReader } from './expression.ts';
import { tokenize } from './lexer.ts';

/** A line ready for the assembler proper: macros expanded, conditions decided. */
export interface SourceLine {
  readonly text: string;
  readonly place: SourcePlace;
}

export interface PreprocessorOptions {
  /** Text of a file named by `%include`; undefined when there is none. */
  readonly include?: (name: string) => string | undefined;
  /** Names defined from the start, as by `%define`. */
  readonly defines?: Readonly<Record<string, string | number>>;
}

interface Macro {
  readonly parameters: { readonly least: number; readonly most: number };
  readonly defaults: readonly string[];
  readonly body: readonly SourceLine[];
}

interface Condition {
  /** The lines outside are assembled. */
  readonly outer: boolean;
  active: boolean;
  /** A branch was taken; the rest is skipped. */
  taken: boolean;
  sawElse: boolean;
}

const MAX_DEPTH = 64;
const MAX_REPETITIONS = 65536;

/**
 * The line-oriented first stage, a small subset of NASM's: `%include`, `%define`, `%assign`, `%undef`, `%macro` with
 * `%1`…`%9`, `%0` and `%%local`, `%rep`, `%if`/`%ifdef`/`%ifndef`/`%elif`/`%else`/`%endif`, `%error`.
 */
export function preprocess(source: string, file: string, options: PreprocessorOptions = {}): SourceLine[] {
  const stage = new Preprocessor(options);
  stage.run(splitLines(source, file), 0);
  return stage.output;
}

function splitLines(source: string, file: string): SourceLine[] {
  const lines: SourceLine[] = [];
  let pending = '';
  for (const [index, raw] of source.split(/\r?\n/).entries()) {
    const place = { file, line: index + 1 };
    if (raw.endsWith('\\')) {
      pending += raw.slice(0, -1);
      continue;
    }
    lines.push({ text: pending + raw, place });
    pending = '';
  }
  return lines;
}

class Preprocessor {
  readonly output: SourceLine[] = [];
  readonly #options: PreprocessorOptions;
  readonly #defines = new Map<string, string>();
  readonly #macros = new Map<string, Macro[]>();
  #expansions = 0;

  constructor(options: PreprocessorOptions) {
    this.#options = options;
    for (const [name, value] of Object.entries(options.defines ?? {})) this.#defines.set(name, String(value));
  }

  run(lines: readonly SourceLine[], depth: number): void {
    const conditions: Condition[] = [];
    for (let index = 0; index < lines.length; index++) {
      const line = lines[index];
      if (line === undefined) break;
      const { text, place } = line;
      if (depth > MAX_DEPTH) throw new AssemblyError(place, 'macros or includes nested too deeply');
      const directive = /^\s*%([a-z]+)\b\s*(.*)$/i.exec(text);
      const word = directive?.[1]?.toLowerCase();
      const rest = directive?.[2] ?? '';
      if (word !== undefined && this.#condition(word, rest, place, conditions)) continue;
      const condition = conditions.at(-1);
      if (condition !== undefined && !condition.active) continue;
      switch (word) {
        case undefined:
          this.#line(line, depth);
          break;
        case 'define':
        case 'xdefine': {
          const found = /^([A-Za-z_.?@][\w.]*)\s*(.*)$/.exec(stripComment(rest));
          if (found === null) throw new AssemblyError(place, '%define needs a name');
          const value = (found[2] ?? '').trim();
          this.#defines.set(found[1] ?? '', word === 'define' ? value : this.#substitute(value));
          break;
        }
        case 'assign': {
          const found = /^([A-Za-z_.?@][\w.]*)\s+(.*)$/.exec(stripComment(rest));
          if (found === null) throw new AssemblyError(place, '%assign needs a name and a value');
          this.#defines.set(found[1] ?? '', String(this.#constant(found[2] ?? '', place)));
          break;
        }
        case 'undef':
          this.#defines.delete(stripComment(rest).trim());
          break;
        case 'error':
          throw new AssemblyError(place, stripComment(rest).trim());
        case 'include': {
          const name = /["'](.*)["']/.exec(rest)?.[1];
          const included = name === undefined ? undefined : this.#options.include?.(name);
          if (name === undefined || included === undefined) {
            throw new AssemblyError(place, `cannot include ${rest.trim()}`);
          }
          this.run(splitLines(included, name), depth + 1);
          break;
        }
        case 'macro': {
          const end = this.#blockEnd(lines, index, 'macro', 'endmacro');
          this.#defineMacro(rest, place, lines.slice(index + 1, end));
          index = end;
          break;
        }
        case 'rep': {
          const end = this.#blockEnd(lines, index, 'rep', 'endrep');
          const count = this.#constant(rest, place);
          if (count < 0n || count > MAX_REPETITIONS) throw new AssemblyError(place, `%rep ${count} times`);
          const body = lines.slice(index + 1, end);
          for (let round = 0n; round < count; round++) this.run(body, depth + 1);
          index = end;
          break;
        }
        default:
          throw new AssemblyError(place, `unknown directive '%${word}'`);
      }
    }
    const last = lines.at(-1);
    if (conditions.length > 0 && last !== undefined) throw new AssemblyError(last.place, '%if without %endif');
  }

  /** Handles the %if family; false when the line is something else. */
  #condition(word: string, rest: string, place: SourcePlace, conditions: Condition[]): boolean {
    const current = conditions.at(-1);
    const open = (truth: () => boolean): void => {
      const outer = current?.active ?? true;
      const active = outer && truth();
      conditions.push({ outer, active, taken: active, sawElse: false });
    };
    const defined = (): boolean => this.#defines.has(stripComment(rest).trim());
    switch (word) {
      case 'if':
        open(() => this.#constant(rest, place) !== 0n);
        return true;
      case 'ifdef':
        open(defined);
        return true;
      case 'ifndef':
        open(() => !defined());
        return true;
      case 'elif':
      case 'else':
        if (current === undefined || current.sawElse) throw new AssemblyError(place, `%${word} without %if`);
        current.sawElse = word === 'else';
        current.active = current.outer && !current.taken && (word === 'else' || this.#constant(rest, place) !== 0n);
        current.taken ||= current.active;
        return true;
      case 'endif':
        if (current === undefined) throw new AssemblyError(place, '%endif without %if');
        conditions.pop();
        return true;
      default:
        return false;
    }
  }

  #blockEnd(lines: readonly SourceLine[], start: number, opening: string, closing: string): number {
    let depth = 0;
    for (let index = start; index < lines.length; index++) {
      const word = /^\s*%([a-z]+)/i.exec(lines[index]?.text ?? '')?.[1]?.toLowerCase();
      if (word === opening) depth++;
      if (word === closing && --depth === 0) return index;
    }
    throw new AssemblyError(lines[start]?.place ?? { file: '?', line: 0 }, `%${opening} without %${closing}`);
  }

  #defineMacro(heading: string, place: SourcePlace, body: readonly SourceLine[]): void {
    const found = /^([A-Za-z_.?@][\w.]*)\s+(\d+)(?:-(\d+|\*))?\s*(.*)$/.exec(stripComment(heading));
    if (found === null) throw new AssemblyError(place, '%macro needs a name and a number of parameters');
    const [, name = '', least = '0', most = least, defaults = ''] = found;
    const parameters = { least: Number(least), most: most === '*' ? 9 : Number(most) };
    const key = name.toLowerCase();
    const variants = this.#macros.get(key) ?? [];
    variants.push({ parameters, defaults: defaults === '' ? [] : splitArguments(defaults), body });
    this.#macros.set(key, variants);
  }

  #line(line: SourceLine, depth: number): void {
    const text = this.#substitute(line.text);
    const found = /^(\s*[A-Za-z_.?@%][\w.?@%]*:)?\s*([A-Za-z_.?@][\w.]*)(?:\s+(.*))?$/.exec(
      stripComment(text).trimEnd(),
    );
    const variants = this.#macros.get((found?.[2] ?? '').toLowerCase());
    if (found === null || variants === undefined) {
      this.output.push({ text, place: line.place });
      return;
    }
    const [, label, name = '', rest = ''] = found;
    if (label !== undefined) this.output.push({ text: label, place: line.place });
    const values = rest.trim() === '' ? [] : splitArguments(rest);
    const macro = variants.find(
      ({ parameters }) => values.length >= parameters.least && values.length <= parameters.most,
    );
    if (macro === undefined) {
      throw new AssemblyError(line.place, `macro '${name}' does not take ${values.length} parameters`);
    }
    while (values.length < macro.parameters.most) {
      values.push(macro.defaults[values.length - macro.parameters.least] ?? '');
    }
    const local = `..@${++this.#expansions}.`;
    const body = macro.body.map((each) => ({
      text: outsideStrings(each.text, (code) =>
        code
          .replaceAll('%%', local)
          .replace(/%\{?(\d)\}?/g, (_, digit: string) => this.#parameter(Number(digit), values)),
      ),
      place: line.place,
    }));
    this.run(body, depth + 1);
  }

  #parameter(digit: number, values: readonly string[]): string {
    if (digit === 0) return String(values.filter((value) => value !== '').length);
    return values[digit - 1] ?? '';
  }

  /** Replaces defined names, repeatedly, outside strings and comments. */
  #substitute(text: string): string {
    let result = text;
    for (let round = 0; round < MAX_DEPTH; round++) {
      let changed = false;
      result = outsideStrings(result, (code) =>
        code.replace(/(?<![\w.?@$%])[A-Za-z_.?@][\w.?@]*/g, (name) => {
          const value = this.#defines.get(name);
          if (value === undefined || value === name) return name;
          changed = true;
          return value;
        }),
      );
      if (!changed) break;
    }
    return result;
  }

  #constant(text: string, place: SourcePlace): bigint {
    const reader = new TokenReader(tokenize(this.#substitute(text), place), place);
    const expression = parseExpression(reader);
    reader.expectEnd();
    const unknown = (name: string): never => {
      throw new AssemblyError(place, `'${name}' is not known to the preprocessor`);
    };
    const nowhere = { value: 0n, labels: 0, known: true };
    return evaluate(expression, { symbol: unknown, here: nowhere, sectionStart: nowhere }, place).value;
  }
}

/** Applies `change` to the parts of a line that are neither string nor comment. */
function outsideStrings(text: string, change: (code: string) => string): string {
  let result = '';
  let position = 0;
  while (position < text.length) {
    const rest = text.slice(position);
    const stop = rest.search(/["'`;]/);
    const code = stop < 0 ? rest : rest.slice(0, stop);
    result += code === '' ? '' : change(code);
    position += code.length;
    if (stop < 0) break;
    const quote = text.charAt(position);
    const end = quote === ';' ? -1 : text.indexOf(quote, position + 1);
    if (end < 0) return result + text.slice(position);
    result += text.slice(position, end + 1);
    position = end + 1;
  }
  return result;
}

export function stripComment(text: string): string {
  let position = 0;
  while (position < text.length) {
    const character = text.charAt(position);
    if (character === ';') return text.slice(0, position);
    if (character === '"' || character === "'" || character === '`') {
      const end = text.indexOf(character, position + 1);
      if (end < 0) return text;
      position = end;
    }
    position++;
  }
  return text;
}

/** Splits macro arguments at commas outside strings, brackets and braces; `{a, b}` is one argument. */
function splitArguments(text: string): string[] {
  const values: string[] = [];
  let depth = 0;
  let current = '';
  let quote = '';
  for (const character of text) {
    if (quote !== '') {
      if (character === quote) quote = '';
    } else if (character === '"' || character === "'" || character === '`') quote = character;
    else if (character === '[' || character === '(' || character === '{') depth++;
    else if (character === ']' || character === ')' || character === '}') depth--;
    else if (character === ',' && depth === 0) {
      values.push(current.trim());
      current = '';
      continue;
    }
    current += character;
  }
  values.push(current.trim());
  return values.map((value) => (value.startsWith('{') && value.endsWith('}') ? value.slice(1, -1) : value));
}
