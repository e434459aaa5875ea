import { posix } from 'node:path';
import { everyone, type Layer, layers, pureNodeModules, testPackages, tests, testsMay } from './rules.ts';

/** One import that the rules forbid. */
export interface Violation {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  readonly message: string;
}

/** One module specifier in a source file. */
export interface Import {
  readonly specifier: string;
  readonly line: number;
}

// The formatter gives imports and exports one shape, which is what lets patterns find them; comments are blanked first.
const importPatterns = [
  /^(?:import|export)\b[^;'"]*?\bfrom\s*(['"])(?<specifier>[^'"\n]+)\1/gm,
  /^import\s*(['"])(?<specifier>[^'"\n]+)\1/gm,
  /(?<![.\w])import\s*\(\s*(['"])(?<specifier>[^'"\n]+)\1/g,
  /\bnew URL\(\s*(['"])(?<specifier>\.[^'"\n]+\.ts)\1\s*,\s*import\.meta\.url\s*\)/g,
  /(?<![.\w])require\s*\(\s*(['"])(?<specifier>[^'"\n]+)\1/g,
];

/** Every module that a TypeScript source names: static, type-only, re-exported, dynamic, and workers by URL. */
export function importsOf(source: string): Import[] {
  const blank = (text: string): string => text.replace(/[^\n]/g, ' ');
  const code = source.replace(/^\s*\/\*[\s\S]*?\*\//gm, blank).replace(/^\s*\/\/.*$/gm, blank);
  const found: Import[] = [];
  for (const pattern of importPatterns) {
    for (const match of code.matchAll(pattern)) {
      const specifier = match.groups?.['specifier'];
      if (specifier !== undefined) {
        found.push({ specifier, line: code.slice(0, match.index).split('\n').length });
      }
    }
  }
  return found.sort((a, b) => a.line - b.line);
}

/** Whether a path from the project's root fits a pattern of rules.ts. */
export function fits(path: string, pattern: string): boolean {
  const expression = pattern
    .replace(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replace(/\*+/g, (stars) => (stars === '*' ? '[^/]*' : '.*'))
    .replace(/\/$/, '/.*');
  return new RegExp(`^${expression}$`).test(path);
}

function layerOf(file: string): Layer | undefined {
  return layers.find((layer) => layer.of.some((pattern) => fits(file, pattern)));
}

function isTest(file: string): boolean {
  return tests.some((pattern) => fits(pattern.includes('/') ? file : posix.basename(file), pattern));
}

function ownFolder(file: string, depth: number): string {
  return `${posix.dirname(file).split('/').slice(0, depth).join('/')}/`;
}

/** What is wrong with one import, or undefined when it is allowed. Paths are from the project's root, with `/`. */
export function judge(file: string, specifier: string): string | undefined {
  const layer = layerOf(file);
  if (layer === undefined) {
    return 'stands in no layer; add its folder to scripts/layers/rules.ts';
  }
  if (specifier.startsWith('node:')) {
    const allowed =
      isTest(file) || layer.node === 'all' || (layer.node === 'pure' && pureNodeModules.includes(specifier));
    return allowed ? undefined : `may not import ${specifier}: only process and backends touch Node's I/O`;
  }
  if (!specifier.startsWith('.')) {
    const name = specifier
      .split('/')
      .slice(0, specifier.startsWith('@') ? 2 : 1)
      .join('/');
    return layer.packages.includes(name) || (isTest(file) && testPackages.includes(name))
      ? undefined
      : `may not import the package ${name}`;
  }
  const target = posix.normalize(posix.join(posix.dirname(file), specifier));
  const own = ownFolder(file, layer.ownDepth);
  const allowed = [own, ...everyone, ...layer.may, ...(isTest(file) ? testsMay : [])];
  if (allowed.some((pattern) => fits(target, pattern))) {
    return file.startsWith('engine/') && isTest(target) && !isTest(file)
      ? `may not import ${target}: it is for tests`
      : undefined;
  }
  return `may not import ${target}`;
}

/** Checks one file. */
export function checkFile(file: string, source: string): Violation[] {
  return importsOf(source).flatMap(({ specifier, line }) => {
    const message = judge(file, specifier);
    return message === undefined ? [] : [{ file, line, message }];
  });
}
