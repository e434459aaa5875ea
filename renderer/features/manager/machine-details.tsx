import {
  ChevronDown,
  MonitorUp,
  Pause,
  Play,
  Power,
  RotateCcw,
  SlidersHorizontal,
  Square,
  Trash2,
  Zap,
} from 'lucide-react';
import { type ReactNode, useState } from 'react';
import type { Disk } from '../../../main/contract/devices.ts';
import type { Machine, MachineSettings } from '../../../main/contract/machines.ts';
import { errorText } from '../../api/lodge-context.ts';
import { GuestPicture } from '../../display/guest-picture.tsx';
import { acceleratorName, acceleratorReason } from '../../i18n/host-texts.ts';
import { type Text, useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { fileName, forwardLine } from '../../ui/format.ts';
import { Menu, MenuItem } from '../../ui/menu.tsx';
import { Notice } from '../../ui/notice.tsx';
import { PathText } from '../../ui/path-text.tsx';
import { MachineSettingsDialog } from '../machine-settings/machine-settings-dialog.tsx';
import { useConfirmation } from './confirm-dialog.tsx';
import { DeleteDialog } from './delete-dialog.tsx';
import { DiskTrouble } from './disk-trouble.tsx';
import { GuestIcon, useGuestName } from './guest-icon.tsx';
import { MachineLog } from './machine-log.tsx';
import { canStart, isActive, MachineStateLabel } from './machine-state.tsx';
import type { MachineActions } from './use-machine-actions.ts';

/** Pictures a second of the preview: enough to see what goes on, too few to cost anything. */
const PREVIEW_RATE = 2;

/** The machine that is selected: its tools, what it consists of, and what is on its screen. */
export function MachineDetails({ machine, actions }: { machine: Machine; actions: MachineActions }) {
  const text = useText();
  const [open, setOpen] = useState<'settings' | 'delete'>();
  const close = () => setOpen(undefined);
  const guestName = useGuestName(machine);
  return (
    <section className="details" aria-labelledby="details-name">
      <header className="details__head">
        <GuestIcon guestSystem={machine.settings?.guestSystem} size={48} />
        <div className="details__title">
          <h2 id="details-name">{machine.name}</h2>
          <p className="details__subtitle">
            <MachineStateLabel state={machine.state} />
            {guestName !== undefined && <span className="muted">{guestName}</span>}
          </p>
        </div>
      </header>
      <MachineTools
        machine={machine}
        actions={actions}
        onSettings={() => setOpen('settings')}
        onDelete={() => setOpen('delete')}
      />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <section className="details__body" aria-label={text('common.details')} tabIndex={0}>
        {machine.reason !== null && <Trouble machine={machine} />}
        {machine.trouble !== null && (
          <DiskTrouble trouble={machine.trouble} onResume={() => actions.resume(machine.id)} />
        )}
        {machine.settings !== null && (
          <div className="details__columns">
            <MachineFacts machine={machine} settings={machine.settings} guestName={guestName} />
            <Preview machine={machine} />
          </div>
        )}
      </section>
      {open === 'delete' && <DeleteDialog machine={machine} onClose={close} />}
      {open === 'settings' && <MachineSettingsDialog machine={machine} onClose={close} />}
      <p className="visually-hidden" role="status">
        {machine.name}: {text(`state.${machine.state}`)}
      </p>
    </section>
  );
}

interface MachineToolsProps {
  readonly machine: Machine;
  readonly actions: MachineActions;
  readonly onSettings: () => void;
  readonly onDelete: () => void;
}

function MachineTools({ machine, actions, onSettings, onDelete }: MachineToolsProps) {
  const text = useText();
  const [confirmation, confirm] = useConfirmation();
  const { id, name, state } = machine;
  const active = isActive(machine);
  const running = state === 'running';
  const paused = state === 'paused';
  return (
    <div className="tools" role="toolbar" aria-label={text('manager.tools')}>
      {active ? (
        <Button look="primary" icon={<MonitorUp size={16} aria-hidden="true" />} onClick={() => actions.show(id)}>
          {text('manager.show')}
        </Button>
      ) : (
        <Button
          look="primary"
          icon={<Play size={16} aria-hidden="true" />}
          disabled={!canStart(machine)}
          onClick={() => actions.start(id)}
        >
          {text('manager.start')}
        </Button>
      )}
      {paused ? (
        <Button icon={<Play size={16} aria-hidden="true" />} onClick={() => actions.resume(id)}>
          {text('manager.resume')}
        </Button>
      ) : (
        <Button icon={<Pause size={16} aria-hidden="true" />} disabled={!running} onClick={() => actions.pause(id)}>
          {text('manager.pause')}
        </Button>
      )}
      <Button
        icon={<RotateCcw size={16} aria-hidden="true" />}
        disabled={!running && !paused}
        onClick={() =>
          confirm({
            warning: 'reset',
            title: text('confirm.reset.title', { name }),
            text: text('confirm.reset.text'),
            confirm: text('manager.reset'),
            danger: true,
            run: () => actions.reset(id),
          })
        }
      >
        {text('manager.reset')}
      </Button>
      <Menu
        trigger={
          <Button disabled={!active || state === 'stopping'} icon={<Square size={15} aria-hidden="true" />}>
            {text('manager.stop')}
            <ChevronDown size={14} aria-hidden="true" />
          </Button>
        }
      >
        <MenuItem icon={<Power size={16} />} disabled={!running} onSelect={() => actions.shutdown(id)}>
          {text('manager.shutdown')}
        </MenuItem>
        <MenuItem
          icon={<Zap size={16} />}
          onSelect={() =>
            confirm({
              warning: 'power-off',
              title: text('confirm.powerOff.title', { name }),
              text: text('confirm.powerOff.text'),
              confirm: text('manager.powerOff'),
              danger: true,
              run: () => actions.powerOff(id),
            })
          }
        >
          {text('manager.powerOff')}
        </MenuItem>
      </Menu>
      <Button
        icon={<SlidersHorizontal size={16} aria-hidden="true" />}
        disabled={machine.settings === null || state === 'starting' || state === 'stopping'}
        onClick={onSettings}
      >
        {text('machine.settings')}
      </Button>
      <Button
        className="tools__end"
        look="quiet"
        icon={<Trash2 size={16} aria-hidden="true" />}
        disabled={active}
        onClick={onDelete}
      >
        {text('manager.delete')}
      </Button>
      {confirmation}
    </div>
  );
}

function Trouble({ machine }: { machine: Machine }) {
  const text = useText();
  const { reason, state } = machine;
  if (reason === null || (state !== 'aborted' && state !== 'inaccessible')) {
    return null;
  }
  return (
    <Notice kind="danger" title={text(`manager.${state}.title`)}>
      <p>{errorText(reason)}</p>
      <p>{text(`manager.${state}.text`)}</p>
      {state === 'aborted' && machine.logPath !== null && <MachineLog machine={machine} />}
    </Notice>
  );
}

interface MachineFactsProps {
  readonly machine: Machine;
  readonly settings: MachineSettings;
  readonly guestName: string | undefined;
}

function MachineFacts({ machine, settings, guestName }: MachineFactsProps) {
  const text = useText();
  const { accelerator } = machine;
  const { cdrom, floppy, disks } = settings;
  return (
    <div className="cards">
      <Card title={text('manager.detail.system')}>
        <Fact label={text('manager.detail.guest')}>{guestName}</Fact>
        <Fact label={text('manager.detail.memory')}>
          {text('manager.megabytes', { value: settings.memoryMegabytes })}
        </Fact>
        <Fact label={text('manager.detail.processors')}>{settings.processors}</Fact>
        <Fact label={text('manager.detail.firmware')}>{settings.firmware.toUpperCase()}</Fact>
        <Fact label={text('machine.vga')}>{text(`machine.vga.${settings.vga}`)}</Fact>
        <Fact label={text('manager.detail.accelerator')}>
          {accelerator === null ? (
            text(`machine.accelerator.${settings.accelerator}`)
          ) : (
            <>
              {acceleratorName(accelerator, text)}
              <span className="field__hint">{acceleratorReason(accelerator, text)}</span>
            </>
          )}
        </Fact>
      </Card>
      <Card title={text('manager.detail.storage')}>
        {disks.map((disk) => (
          <Fact key={`${disk.bus} ${disk.port}`} label={text('manager.detail.disk')}>
            <FileFact path={disk.path} />
            <span className="field__hint">{diskTraits(disk, text)}</span>
          </Fact>
        ))}
        {cdrom !== null && (
          <Fact label={text('manager.detail.optical')}>
            {cdrom.path === null ? <Empty /> : <FileFact path={cdrom.path} />}
          </Fact>
        )}
        {floppy !== null && (
          <Fact label={text('manager.detail.floppy')}>
            {floppy.path === null ? <Empty /> : <FileFact path={floppy.path} />}
          </Fact>
        )}
        <Fact label={text('manager.detail.folder')}>
          <PathText path={machine.folder} />
        </Fact>
      </Card>
      <NetworkFacts network={settings.network} />
      {settings.shares.length > 0 && (
        <Card title={text('machine.tab.shares')}>
          {settings.shares.map(({ name, path, readOnly }) => (
            <Fact key={name} label={name}>
              <FileFact path={path} />
              {readOnly && <span className="field__hint">{text('machine.readOnly')}</span>}
            </Fact>
          ))}
        </Card>
      )}
    </div>
  );
}

function diskTraits({ bus, serial, readOnly }: Disk, text: Text): string {
  const traits = [
    text(`machine.bus.${bus}`),
    ...(serial === null ? [] : [`${text('machine.serial')} ${serial}`]),
    ...(readOnly ? [text('machine.readOnly')] : []),
  ];
  return traits.join(', ');
}

function NetworkFacts({ network }: { network: MachineSettings['network'] }) {
  const text = useText();
  if (network === null) {
    return (
      <Card title={text('machine.tab.network')}>
        <Fact label={text('network.card')}>{text('common.none')}</Fact>
      </Card>
    );
  }
  const { model, mac, connected, isolated, hostLoopback, forwards } = network;
  const access = [
    ...(isolated ? [text('network.isolated')] : []),
    ...(hostLoopback ? [text('network.hostLoopback')] : []),
  ];
  return (
    <Card title={text('machine.tab.network')}>
      <Fact label={text('network.card')}>
        {text('network.nat', { model: text(`machine.model.${model}`) })}
        <span className="field__hint">{connected ? mac : `${mac}, ${text('network.unplugged')}`}</span>
      </Fact>
      {access.length > 0 && <Fact label={text('network.access')}>{access.join(', ')}</Fact>}
      {forwards.length > 0 && (
        <Fact label={text('network.forwards')}>
          {forwards.map((forward) => (
            <span key={`${forward.protocol} ${forward.hostAddress} ${forward.hostPort}`}>{forwardLine(forward)}</span>
          ))}
        </Fact>
      )}
    </Card>
  );
}

function Card({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="card">
      <h3 className="card__title">{title}</h3>
      <dl className="facts">{children}</dl>
    </section>
  );
}

function Fact({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div className="fact">
      <dt>{label}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function FileFact({ path }: { path: string }) {
  return (
    <span className="path" title={path}>
      {fileName(path)}
    </span>
  );
}

function Empty() {
  const text = useText();
  return <span className="muted">{text('manager.detail.empty')}</span>;
}

function Preview({ machine }: { machine: Machine }) {
  const text = useText();
  const on = machine.state === 'running' || machine.state === 'paused';
  return (
    <section className="card card--preview">
      <h3 className="card__title">{text('manager.preview')}</h3>
      <div
        className="preview"
        role="img"
        aria-label={on ? text('manager.previewOf', { name: machine.name }) : text('manager.previewOff')}
      >
        {on ? (
          <GuestPicture
            machine={machine.id}
            mode="fit"
            framesPerSecond={PREVIEW_RATE}
            placeholder={<span>{text('console.waiting')}</span>}
          />
        ) : (
          <div className="picture__placeholder">
            <Power size={28} aria-hidden="true" />
            <span>{text('manager.previewOff')}</span>
          </div>
        )}
      </div>
    </section>
  );
}
