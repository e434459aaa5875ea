import type { MachineSettings } from '../contract/machines.ts';

/** Settings with every path of the host changed; `field` names the setting that a path stands in. */
export function mapPaths(settings: MachineSettings, change: (path: string, field: string) => string): MachineSettings {
  const { disks, cdrom, floppy, network, shares, sound } = settings;
  const optional = (path: string | null, field: string) => (path === null ? null : change(path, field));
  return {
    ...settings,
    disks: disks.map((disk, index) => ({ ...disk, path: change(disk.path, `disks.${index}.path`) })),
    cdrom: cdrom === null ? null : { ...cdrom, path: optional(cdrom.path, 'cdrom.path') },
    floppy: floppy === null ? null : { ...floppy, path: optional(floppy.path, 'floppy.path') },
    network:
      network === null
        ? null
        : {
            ...network,
            capture: optional(network.capture, 'network.capture'),
            bootFolder: optional(network.bootFolder, 'network.bootFolder'),
          },
    shares: shares.map((share, index) => ({ ...share, path: change(share.path, `shares.${index}.path`) })),
    sound:
      sound === null
        ? null
        : { output: optional(sound.output, 'sound.output'), input: optional(sound.input, 'sound.input') },
  };
}

/** The setting in which a path stands, if one does. */
export function fieldOfPath(settings: MachineSettings, wanted: string): string | undefined {
  let found: string | undefined;
  mapPaths(settings, (path, field) => {
    if (path === wanted) {
      found ??= field;
    }
    return path;
  });
  return found;
}
