import { readFileSync } from 'node:fs';
import { arch, cpus, freemem, platform, release, totalmem } from 'node:os';
import { type ErrorDetails, HostError } from '../base/host-error.ts';
import { findFirmware } from '../firmware/find-firmware.ts';
import { chooseAccelerator, type KvmFinding, kvmFinding } from './accelerator.ts';

export interface AcceleratorReport {
  readonly name: 'kvm' | 'software';
  /** A machine can be told to use it. */
  readonly usable: boolean;
  /** What 'auto' takes: of all accelerators, one. */
  readonly chosen: boolean;
  /** What it is, or why it is not usable, in one line. */
  readonly detail: string;
  /** The same for programs, which say it in another language with the values of `details`. */
  readonly why: string;
  readonly details?: ErrorDetails | undefined;
}

/** What this host offers to machines: the contents of `lodge doctor`. */
export interface HostReport {
  readonly versions: { readonly lodge: string; readonly node: string; readonly v8: string };
  readonly host: { readonly platform: string; readonly release: string; readonly arch: string };
  readonly processors: { readonly count: number; readonly model: string };
  readonly memory: { readonly totalMegabytes: number; readonly freeMegabytes: number };
  readonly firmware:
    | { readonly found: true; readonly bios: string; readonly vgaBios: string }
    | { readonly found: false; readonly problem: string; readonly remedy: string };
  readonly accelerators: readonly AcceleratorReport[];
}

/** Looks at the host without changing it. */
export function hostReport(): HostReport {
  const processors = cpus();
  return {
    versions: { lodge: lodgeVersion(), node: process.versions.node, v8: process.versions.v8 },
    host: { platform: platform(), release: release(), arch: arch() },
    processors: { count: processors.length, model: processors[0]?.model.trim() ?? 'unknown' },
    memory: { totalMegabytes: Math.floor(totalmem() / 2 ** 20), freeMegabytes: Math.floor(freemem() / 2 ** 20) },
    firmware: firmwareReport(),
    accelerators: acceleratorReports(kvmFinding()),
  };
}

/** What is known of each accelerator, and which one machines get that do not ask for one. */
export function acceleratorReports(finding: KvmFinding): AcceleratorReport[] {
  const { state, detail, why, details, remedy } = finding;
  const chosen = chooseAccelerator({ accel: 'auto', virtualTime: false }, () => finding).name;
  return [
    {
      name: 'kvm',
      usable: state !== 'unusable',
      chosen: chosen === 'kvm',
      detail: remedy === undefined ? detail : `${detail}; ${remedy}`,
      why,
      ...(details === undefined ? {} : { details }),
    },
    {
      name: 'software',
      usable: true,
      chosen: chosen === 'software',
      detail: "Lodge's own x86-64 processor, compiling guest code to WebAssembly",
      why: 'own',
    },
  ];
}

export function lodgeVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : 'unknown';
}

function firmwareReport(): HostReport['firmware'] {
  try {
    return { found: true, ...findFirmware().from };
  } catch (error) {
    if (error instanceof HostError) {
      const remedy = error.remedy ?? 'install SeaBIOS again';
      return { found: false, problem: error.message.replace(`; ${remedy}`, ''), remedy };
    }
    throw error;
  }
}
