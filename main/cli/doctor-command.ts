import type { HostReport } from '../../engine/process/host-report.ts';

/** The report of `lodge doctor` for people. */
export function doctorText(report: HostReport): string {
  const { versions, host, processors, memory, firmware, accelerators } = report;
  const rows: [string, string][] = [
    ['lodge', versions.lodge],
    ['node', `${versions.node} (V8 ${versions.v8})`],
    ['host', `${host.platform} ${host.release} ${host.arch}`],
    ['processors', `${processors.count} × ${processors.model}`],
    ['memory', `${memory.totalMegabytes} MB, ${memory.freeMegabytes} MB free`],
    ...(firmware.found
      ? ([
          ['firmware', firmware.bios],
          ['VGA BIOS', firmware.vgaBios],
        ] as [string, string][])
      : ([['firmware', `${firmware.problem}; ${firmware.remedy}`]] as [string, string][])),
    ...accelerators.map(({ name, usable, detail }): [string, string] => [
      name,
      `${usable ? 'usable' : 'not usable'}: ${detail}`,
    ]),
    ...accelerators.filter(({ chosen }) => chosen).map(({ name }): [string, string] => ['auto', `takes ${name}`]),
  ];
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  return `${rows.map(([label, value]) => `${label.padEnd(width)}${value}`).join('\n')}\n`;
}
