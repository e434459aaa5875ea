import { type ChildProcess, spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { GuestOptions } from './guest-run.ts';

/**
 * The same guest on QEMU, for a second opinion about an image or a test. Exit codes are translated to those of
 * `lodge run` as far as QEMU tells them: 0 for power-off, 3 for time-out.
 */
export class QemuRun {
  readonly child: ChildProcess;
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(options: GuestOptions, folder: string, shot: (seconds: number) => string) {
    const socket = join(folder, 'qmp');
    const given = (name: string, value: string | number | undefined): string[] =>
      value === undefined ? [] : [name, String(value)];
    const flags = options.noReboot === true ? ['-no-reboot'] : [];
    const letters: Readonly<Record<string, string>> = { floppy: 'a', disk: 'c', cdrom: 'd' };
    const order = options.boot
      ?.split(',')
      .map((name) => letters[name])
      .join('');
    const arguments_ = [
      ...['-machine', 'pc', '-cpu', 'max', '-display', 'none', '-vga', 'std', '-serial', 'stdio'],
      ...['-nic', networkCard(options.net)],
      ...['-qmp', `unix:${socket},server=on,wait=off`, '-accel', 'tcg', ...flags],
      ...given('-smp', options.cpus),
      ...given('-m', options.memory),
      ...given('-kernel', options.kernel),
      ...given('-initrd', options.initrd),
      ...given('-append', options.append),
      ...(options.disks ?? []).flatMap(({ path }, index) => [
        '-drive',
        `file=${path},format=raw,if=ide,index=${index}`,
      ]),
      ...(options.shares ?? []).flatMap((share) => ['-virtfs', sharedFolder(share)]),
      ...given('-cdrom', options.cdrom),
      ...(options.floppy === undefined ? [] : ['-drive', `file=${options.floppy},format=raw,if=floppy`]),
      ...given('-boot', `menu=on${order === undefined ? '' : `,order=${order}`}`),
      ...given('-bios', options.bios),
      ...(options.debugExit === true ? ['-device', 'isa-debug-exit,iobase=0xf4'] : []),
    ];
    this.child = spawn('qemu-system-x86_64', arguments_);
    this.child.on('close', () => {
      for (const timer of this.#timers) {
        clearTimeout(timer);
      }
    });
    const at = (seconds: number, action: () => void): void => {
      this.#timers.push(setTimeout(action, seconds * 1000));
    };
    at(0.5, () => {
      const qmp = connect(socket);
      qmp.on('error', () => {});
      qmp.on('data', () => {});
      const execute = (command: string, values: object): void => {
        qmp.write(`${JSON.stringify({ execute: command, arguments: values })}\n`);
      };
      execute('qmp_capabilities', {});
      for (const seconds of options.screenshots ?? []) {
        at(seconds - 0.5, () => execute('screendump', { filename: shot(seconds), format: 'png' }));
      }
      for (const typed of options.type ?? []) {
        at(typed.at - 0.5, () => typeOn(qmp, typed.text));
      }
    });
    at(options.timeout, () => this.child.kill());
  }
}

/** QEMU's user-mode network in the place of ours; network boot over HTTP it does not have. */
function networkCard(net: string | undefined): string {
  if (net === undefined || net === 'none') {
    return 'none';
  }
  const parts = net.split(',').slice(1);
  const model = parts.includes('model=virtio') ? 'virtio-net-pci' : 'e1000';
  const forwards = parts.flatMap((part) => {
    const match = /^forward=(tcp|udp):(\d+):(\d+)$/.exec(part);
    return match === null ? [] : [`hostfwd=${match[1]}:127.0.0.1:${match[2]}-:${match[3]}`];
  });
  return ['user', `model=${model}`, ...(parts.includes('isolated') ? ['restrict=on'] : []), ...forwards].join(',');
}

/** A share as QEMU's 9p server has it. */
function sharedFolder(share: string): string {
  const [, name, path, readOnly] = /^([^=]*)=(.*?)(,readonly)?$/s.exec(share) ?? [];
  const options = [`path=${path}`, `mount_tag=${name}`, 'security_model=none'];
  return ['local', ...options, ...(readOnly === undefined ? [] : ['readonly=on'])].join(',');
}

const codes: Readonly<Record<string, string>> = { ' ': 'spc', '\n': 'ret', '-': 'minus', '.': 'dot', '/': 'slash' };

function typeOn(qmp: Socket, text: string): void {
  for (const [, braced, character] of text.matchAll(/\{([\w+]+)\}|([^{])/g)) {
    const names = braced?.split('+') ?? [codes[character ?? ''] ?? character];
    const keys = names.map((name) => ({ type: 'qcode', data: name === 'Enter' ? 'ret' : name }));
    qmp.write(`${JSON.stringify({ execute: 'send-key', arguments: { keys } })}\n`);
  }
}
