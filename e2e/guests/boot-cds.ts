import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { debianPackage, debianTool, NotAvailable } from '../../scripts/debian.ts';
import { prepared } from './prepared.ts';

/** A BIOS-bootable CD made by grub-mkrescue, with a GRUB configuration and files by their path on the CD. */
export function grubCd(path: string, configuration: string, files: Readonly<Record<string, string>> = {}): void {
  const packages = ['grub-common', 'grub-pc-bin', 'xorriso', 'mtools'];
  const modules = existsSync('/usr/lib/grub/i386-pc')
    ? '/usr/lib/grub/i386-pc'
    : join(debianPackage('grub-pc-bin'), 'usr/lib/grub/i386-pc');
  const tool = debianTool('grub-mkrescue', packages);
  const root = mkdtempSync(join(tmpdir(), 'lodge-cd-'));
  try {
    mkdirSync(join(root, 'boot/grub'), { recursive: true });
    writeFileSync(join(root, 'boot/grub/grub.cfg'), configuration);
    for (const [name, source] of Object.entries(files)) {
      mkdirSync(dirname(join(root, name)), { recursive: true });
      copyFileSync(source, join(root, name));
    }
    const options = ['-d', modules, '--compress=no', '--locales=', '--themes=', '--fonts='];
    const result = spawnSync(tool.command, [...options, '-o', path, root], { env: tool.env, encoding: 'utf8' });
    if (result.status !== 0) {
      throw new NotAvailable(
        `grub-mkrescue made no CD: ${(result.stderr ?? String(result.error)).trim().split('\n').at(-1)}`,
      );
    }
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** The entries of the rescue CD's menu; each prints a line of its own and waits for a key. */
export const grubEntries = ['Lodge first entry', 'Lodge second entry', 'Lodge third entry'];

/** A CD whose GRUB shows a menu of three entries on the text screen and on the serial port. @throws NotAvailable */
export function grubMenuCd(): string {
  return prepared('grub-menu-1.iso', (path) => {
    const entries = grubEntries.map(
      (title) => `menuentry '${title}' {\n  echo 'Chosen: ${title}'\n  echo 'Press a key'\n  read answer\n}\n`,
    );
    grubCd(path, `set timeout=-1\nset default=0\n${entries.join('')}`);
  });
}

/** A CD that starts the Debian installer of the netboot images at once. @throws NotAvailable */
export function installerCd(kind: 'text' | 'gtk'): string {
  return prepared(`installer-2-${kind}.iso`, (path) => {
    const images = join(
      debianPackage('debian-installer-12-netboot-amd64'),
      `usr/lib/debian-installer/images/12/amd64/${kind}/debian-installer/amd64`,
    );
    const configuration = [
      'set timeout=0',
      'menuentry install {',
      '  linux /install/linux vga=788 --- quiet',
      '  initrd /install/initrd.gz',
      '}',
    ];
    grubCd(path, `${configuration.join('\n')}\n`, {
      'install/linux': join(images, 'linux'),
      'install/initrd.gz': join(images, 'initrd.gz'),
    });
  });
}

/** memtest86+ as a kernel in bzImage format, and as a CD. @throws NotAvailable */
export function memtest(bits: 64 | 32): { kernel: string; cd: string } {
  const folder = debianPackage('memtest86+');
  const name = bits === 64 ? 'x64' : 'ia32';
  return {
    kernel: join(folder, `boot/memtest86+${name}.bin`),
    cd: join(folder, `usr/lib/memtest86+/memtest86+${name}.iso`),
  };
}

/** iPXE as a kernel in bzImage format, and as a CD. @throws NotAvailable */
export function ipxe(): { kernel: string; cd: string } {
  const folder = debianPackage('ipxe');
  return { kernel: join(folder, 'boot/ipxe.lkrn'), cd: join(folder, 'usr/lib/ipxe/ipxe.iso') };
}
