import type { VmConfig } from '../../engine/process/vm-control.ts';
import type { NetworkSettings, PortForward } from '../contract/devices.ts';
import type { MachineSettings } from '../contract/machines.ts';

/** The settings as the machine's process takes them. */
export function vmConfig(settings: MachineSettings): VmConfig {
  const { cdrom, floppy, network, sound } = settings;
  return {
    name: settings.name,
    accel: settings.accelerator,
    hyperv: settings.hyperv,
    cpus: settings.processors,
    memoryMegabytes: settings.memoryMegabytes,
    firmware: {},
    boot: { order: settings.bootOrder },
    disks: settings.disks.map(({ path, bus, port, readOnly, serial }) => ({
      path,
      bus,
      port,
      readOnly,
      ...(serial === null ? {} : { serial }),
    })),
    ...(cdrom === null
      ? {}
      : { cdrom: { ...(cdrom.path === null ? {} : { path: cdrom.path }), bus: cdrom.bus, port: cdrom.port } }),
    ...(floppy === null
      ? {}
      : { floppy: { ...(floppy.path === null ? {} : { path: floppy.path }), readOnly: floppy.readOnly } }),
    ...(network === null ? {} : { network: networkConfig(network) }),
    vga: settings.vga,
    shares: settings.shares,
    ...(sound === null ? {} : { sound: soundConfig(sound) }),
    entropy: settings.entropy,
    balloon: settings.balloon,
  };
}

function networkConfig(network: NetworkSettings): NonNullable<VmConfig['network']> {
  const { model, mac, connected, forwards, hostLoopback, isolated, capture, bootFolder, bootFile } = network;
  return {
    model,
    mac,
    linkUp: connected,
    forwards: forwards.map(forwardConfig),
    hostLoopback,
    isolated,
    ...(capture === null ? {} : { capture }),
    ...(bootFolder === null ? {} : { bootFolder }),
    ...(bootFile === null ? {} : { bootFile }),
  };
}

function soundConfig({ output, input }: NonNullable<MachineSettings['sound']>): NonNullable<VmConfig['sound']> {
  return {
    output: output === null ? { kind: 'null' } : { kind: 'wav', path: output },
    ...(input === null ? {} : { input }),
  };
}

/** A forward as the engine takes it. */
export function forwardConfig({ guestAddress, ...forward }: PortForward) {
  return { ...forward, ...(guestAddress === null ? {} : { guestAddress }) };
}
