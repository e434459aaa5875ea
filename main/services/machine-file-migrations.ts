/** Brings the contents of older machine.json files to the present version, one step a version. */

/** Counts up whenever the meaning of the file changes; each step gets a migration. */
export const MACHINE_SCHEMA_VERSION = 3;
/** Names that begin so are the user's own: they are kept and mean nothing to Lodge. */
export const OWN_FIELD = 'x-';

type Contents = Readonly<Record<string, unknown>>;

/** What is not of the expected shape is passed on as it is: the schema tells what is wrong with it. */
const migrations: Readonly<Record<number, (contents: Contents) => Contents>> = {
  1: fromVersion1,
  2: fromVersion2,
};

/** `contents` of a file of version `version`, as the present version would have written them. */
export function migrate(contents: Contents, version: number): Contents {
  let present = contents;
  for (let step = version; step < MACHINE_SCHEMA_VERSION; step++) {
    present = migrations[step]?.(present) ?? present;
  }
  return present;
}

const VERSION_1_FIELDS = new Set([
  'schemaVersion',
  'createdAt',
  'name',
  'guestSystem',
  'memoryMegabytes',
  'processors',
  'firmware',
  'accelerator',
  'bootOrder',
  'disks',
  'cdrom',
  'floppy',
]);

/** Version 1 knew IDE only and no network, and let fields of other names pass. The guest's hardware stays the same. */
function fromVersion1(contents: Contents): Contents {
  const known = Object.entries(contents).map(([name, value]): [string, unknown] => [
    VERSION_1_FIELDS.has(name) || name.startsWith(OWN_FIELD) ? name : `${OWN_FIELD}${name}`,
    value,
  ]);
  const { disks, cdrom, ...rest } = Object.fromEntries(known);
  return {
    ...rest,
    disks: Array.isArray(disks) ? disks.map((disk) => (isObject(disk) ? { ...disk, serial: null } : disk)) : disks,
    cdrom: isObject(cdrom) ? { ...cdrom, bus: 'ide' } : cdrom,
    network: null,
    vga: 'std',
    shares: [],
    sound: null,
    entropy: false,
    balloon: false,
  };
}

/** Version 2 knew of Hyper-V's interface on the command line only. */
function fromVersion2(contents: Contents): Contents {
  return { ...contents, hyperv: false };
}

function isObject(value: unknown): value is Contents {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
