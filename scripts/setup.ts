/**
 * Provides what Lodge needs beyond npm: the firmware, and with `--guests=quick` or `--guests=all` what the guest tests
 * run. Quick when nothing is to do. Everything comes from Debian packages into `.cache`, or is already installed.
 * Ends with 1 and one line that says what to install when the firmware cannot be had; guests that cannot be had are
 * named, and their tests are skipped.
 */
import { grubMenuCd, installerCd, ipxe, memtest } from '../e2e/guests/boot-cds.ts';
import { busyboxInitramfs, linuxKernel } from '../e2e/guests/linux.ts';
import { findCommand, NotAvailable } from './debian.ts';
import { provideFirmware } from './firmware.ts';

const quick: readonly (readonly [name: string, prepare: () => unknown])[] = [
  ['the amd64 cloud kernel', () => linuxKernel('cloud')],
  ['busybox (amd64)', () => busyboxInitramfs()],
  ['the GRUB rescue CD', grubMenuCd],
];
const long: typeof quick = [
  ['the generic amd64 kernel', () => linuxKernel('generic')],
  ['the 686 kernel', () => linuxKernel('i686')],
  ['busybox (i386)', () => busyboxInitramfs('i386')],
  ['memtest86+', () => memtest(64)],
  ['iPXE', ipxe],
  ['the Debian installer (text)', () => installerCd('text')],
  ['the Debian installer (graphical)', () => installerCd('gtk')],
];

const guests = process.argv.find((argument) => argument.startsWith('--guests='))?.slice('--guests='.length);
try {
  console.log(`Firmware: ${provideFirmware()}`);
  if (guests !== undefined) {
    const compiler = ['gcc', 'cc', 'clang'].map(findCommand).find((path) => path !== undefined);
    console.log(`C compiler: ${compiler ?? 'none; tests against the host processor are skipped (install gcc)'}`);
  }
  for (const [name, prepare] of guests === 'all' ? [...quick, ...long] : guests === 'quick' ? quick : []) {
    try {
      prepare();
      console.log(`Guest: ${name}`);
    } catch (error) {
      if (!(error instanceof NotAvailable)) {
        throw error;
      }
      console.log(`Guest: ${name} is not available, its tests are skipped: ${error.message}`);
    }
  }
} catch (error) {
  if (!(error instanceof NotAvailable)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 1;
}
