import type { Text } from '../i18n/i18n.ts';

/** Rules that fields of several forms share. */

export function isAbsolutePath(path: string): boolean {
  return /^([/\\]|[A-Za-z]:[/\\])/.test(path);
}

/** Whether `name` can be the name of a folder on every host. */
export function isPlainName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused here
  return !/[/\\\u0000-\u001f\u007f]/.test(name) && !name.trim().startsWith('.');
}

/** What is wrong with a number as it was typed; undefined when nothing is. */
export function numberProblem(
  text: Text,
  value: string,
  { minimum, maximum }: { readonly minimum: number; readonly maximum: number },
  whole = true,
): string | undefined {
  const parsed = Number(value);
  if (value.trim() === '' || !Number.isFinite(parsed) || (whole && !Number.isInteger(parsed))) {
    return text('wizard.error.whole');
  }
  return parsed < minimum || parsed > maximum ? text('wizard.error.range', { min: minimum, max: maximum }) : undefined;
}
