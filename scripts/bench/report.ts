/** From the measurements of some rounds to a table. */

/** One item under one host, a value a round. */
export interface Measured {
  /** The seconds that are compared. */
  readonly seconds: readonly number[];
  /** By the clock, for which the busiest thread had a processor, and by the guest's clock. */
  readonly wall?: readonly number[];
  readonly busy?: readonly number[];
  readonly inside?: readonly number[];
  /** What the programs computed; one value when all rounds agree. */
  readonly checksums: readonly string[];
}

export type ItemKind = 'compute' | 'system' | 'boot';

export interface Row {
  readonly name: string;
  readonly kind: ItemKind;
  /** What every checksum must be; undefined where nothing tells. */
  readonly expected: string | undefined;
  readonly hosts: Readonly<Record<string, Measured>>;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [below, above] = [sorted[middle - 1] ?? Number.NaN, sorted[middle] ?? Number.NaN];
  return sorted.length % 2 === 1 ? above : (below + above) / 2;
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** Hosts whose checksum of an item differs from the right one, or between rounds. */
export function wrongResults(
  rows: readonly Row[],
): { readonly item: string; readonly host: string; readonly text: string }[] {
  return rows.flatMap(({ name, expected, hosts }) => {
    const all = Object.entries(hosts);
    // Where this machine cannot compute it, the hosts have to agree.
    const right = expected ?? all.find(([, { checksums }]) => checksums.length > 0)?.[1].checksums[0];
    return all
      .filter(([, { checksums }]) => checksums.some((checksum) => checksum !== right))
      .map(([host, { checksums }]) => ({
        item: name,
        host,
        text: `${[...new Set(checksums)].join(', ')} instead of ${right}`,
      }));
  });
}

/** Time under `rival` divided by the time under Lodge: above 1, Lodge is faster. Undefined where one did not run. */
export function ratio(row: Row, rival: string): number | undefined {
  const ours = row.hosts['lodge']?.seconds ?? [];
  const theirs = row.hosts[rival]?.seconds ?? [];
  return ours.length === 0 || theirs.length === 0 ? undefined : median(theirs) / median(ours);
}

/** Geometric mean of the ratios of the programs, without the boot. */
export function meanRatio(rows: readonly Row[], rival: string): number | undefined {
  const programs = rows.filter(({ kind }) => kind !== 'boot');
  const ratios = programs.map((row) => ratio(row, rival)).filter((value) => value !== undefined);
  return ratios.length === 0 ? undefined : geometricMean(ratios);
}

function seconds(measured: Measured | undefined): string {
  return measured === undefined || measured.seconds.length === 0 ? '–' : median(measured.seconds).toFixed(2);
}

function times(value: number | undefined): string {
  return value === undefined ? '–' : value.toFixed(2);
}

/** The medians as a table in Markdown, which is legible on a terminal too. `hosts`: name and title, Lodge first. */
export function table(
  rows: readonly Row[],
  hosts: readonly { readonly name: string; readonly title: string }[],
): string {
  const rivals = hosts.filter(({ name }) => name !== 'lodge');
  const head = ['item', ...hosts.map(({ title }) => `${title} s`), ...rivals.map(({ title }) => `${title} / Lodge`)];
  const lines = rows.map((row) => [
    row.name,
    ...hosts.map(({ name }) => seconds(row.hosts[name])),
    ...rivals.map(({ name }) => times(ratio(row, name))),
  ]);
  const means = [
    'geometric mean of the programs',
    ...hosts.map(() => ''),
    ...rivals.map(({ name }) => times(meanRatio(rows, name))),
  ];
  const cells = [head, ...lines, means];
  const widths = head.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0)));
  const pad = (line: readonly string[]) =>
    `| ${line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(' | ')} |`;
  const rule = `| ${widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [pad(head), rule, ...cells.slice(1).map(pad)].join('\n');
}

export interface Target {
  readonly what: string;
  readonly wanted: number;
  readonly found: number | undefined;
}

/** What Lodge wants to reach; a program below its share of the rival's speed is named. */
export function targets(rows: readonly Row[], bits: 32 | 64): Target[] {
  if (bits === 32) {
    return [{ what: 'geometric mean against v86', wanted: 2.5, found: meanRatio(rows, 'v86') }];
  }
  const compute = rows.filter(({ kind }) => kind === 'compute').map((row) => ({ row, value: ratio(row, 'tcg') }));
  const slowest = compute
    .filter((entry): entry is { row: Row; value: number } => entry.value !== undefined)
    .sort((a, b) => a.value - b.value)[0];
  const boot = rows.filter(({ kind }) => kind === 'boot').map((row) => ({ row, value: ratio(row, 'tcg') }));
  return [
    { what: 'geometric mean against TCG', wanted: 1, found: meanRatio(rows, 'tcg') },
    { what: `slowest compute item (${slowest?.row.name ?? 'none'})`, wanted: 0.6, found: slowest?.value },
    ...boot.map(({ row, value }) => ({ what: row.name, wanted: 0.8, found: value })),
  ];
}
