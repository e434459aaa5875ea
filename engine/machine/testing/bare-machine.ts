import type { Log } from '../../base/log.ts';
import { silentLog } from '../../base/log.ts';
import { validateMachineConfig } from '../../config/validate-machine-config.ts';
import type { KvmAccess } from '../../cpu/kvm/kvm-access.ts';
import { Machine } from '../machine.ts';

export interface BareMachineOptions {
  readonly cpus?: number;
  readonly memoryMegabytes?: number;
  readonly virtualTime?: boolean;
  readonly hyperv?: boolean;
  readonly log?: Log;
  readonly serial?: (byte: number) => void;
  readonly kvm?: KvmAccess | undefined;
  /** The host's monotonic clock in milliseconds, for machines in software. */
  readonly hostMillis?: () => number;
  /** Firmware of the test's own: 64 KiB or more, a power of two; ends at 4 GiB. Starts at its last 16 bytes. */
  readonly bios: Uint8Array;
}

/** A machine without media and without anyone's firmware, for tests that bring their own code. */
export function bareMachine(options: BareMachineOptions): Machine {
  const config = validateMachineConfig({
    cpus: options.cpus,
    memoryMegabytes: options.memoryMegabytes ?? 16,
    virtualTime: options.virtualTime ?? options.kvm === undefined,
    hyperv: options.hyperv,
    serial: { kind: 'none' },
  });
  return new Machine({
    config,
    firmware: { bios: options.bios, vgaBios: new Uint8Array(), from: { bios: 'test', vgaBios: 'test' } },
    vgaBios: new Uint8Array(),
    kernel: undefined,
    openMedia: () => ({ disks: [], floppy: undefined }),
    serialOutput: { write: options.serial ?? (() => {}) },
    log: options.log ?? silentLog,
    kvm: options.kvm,
    ...(options.hostMillis === undefined ? {} : { hostMillis: options.hostMillis }),
  });
}
