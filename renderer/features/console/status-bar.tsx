import { ContextMenu } from '@base-ui/react/context-menu';
import { Cpu, Disc3, FolderOpen, HardDrive, Keyboard, Mouse, Network, Save, Unplug } from 'lucide-react';
import type { ReactNode } from 'react';
import type { Activity, ConsoleStatus, Drive } from '../../../main/contract/console.ts';
import type { Machine } from '../../../main/contract/machines.ts';
import { useLodge } from '../../api/lodge-context.ts';
import { acceleratorName, acceleratorReason } from '../../i18n/host-texts.ts';
import { useText } from '../../i18n/i18n.ts';
import { useKeyName } from '../../input/key-name.ts';
import { forwardLine } from '../../ui/format.ts';
import { useLandmark } from '../../ui/landmark.ts';
import { MenuItem } from '../../ui/menu.tsx';
import { Tooltip } from '../../ui/tooltip.tsx';
import type { Tab } from '../machine-settings/settings-form.ts';
import { otherAccelerator } from './console-commands.ts';
import { mediumName } from './console-dialogs.tsx';

interface StatusBarProps {
  readonly machine: Machine;
  readonly status: ConsoleStatus | undefined;
  readonly keyboardCaptured: boolean;
  readonly mouseCaptured: boolean;
  readonly onInsert: (drive: Drive) => void;
  readonly onEject: (drive: Drive) => void;
  readonly onLink: (up: boolean) => void;
  readonly onSettings: (tab: Tab) => void;
  readonly onAccelerate: (accelerator: 'kvm' | 'software') => void;
}

/** What the devices are doing, who has keyboard and mouse, and what runs the guest. */
export function StatusBar(props: StatusBarProps) {
  const { machine, status, keyboardCaptured, mouseCaptured, onInsert, onEject, onLink, onSettings, onAccelerate } =
    props;
  const { settings } = useLodge();
  const text = useText();
  const keyName = useKeyName();
  const host = keyName(settings.hostKey);
  const accelerator = status?.accelerator ?? undefined;
  const other = otherAccelerator(accelerator ?? null);
  const drives = { status, onInsert, onEject };
  return (
    <footer className="status">
      <h2 className="visually-hidden">{text('status.label')}</h2>
      <Indicator
        name={text('status.disk')}
        activity={status?.activity.disk ?? 'none'}
        icon={<HardDrive size={16} aria-hidden="true" />}
      />
      <DriveIndicator name="cdrom" icon={<Disc3 size={16} aria-hidden="true" />} {...drives} />
      <DriveIndicator name="floppy" icon={<Save size={16} aria-hidden="true" />} {...drives} />
      <NetworkIndicator machine={machine} status={status} onLink={onLink} onSettings={onSettings} />
      <SharesIndicator machine={machine} status={status} onSettings={onSettings} />
      <span className="status__space" />
      {accelerator !== undefined && (
        <IndicatorWithMenu
          indicator={
            <Tooltip text={acceleratorReason(accelerator, text)}>
              <button
                type="button"
                className="status__item status__item--text"
                aria-label={`${text('status.accelerator', { name: acceleratorName(accelerator, text) })}. ${acceleratorReason(accelerator, text)}`}
              >
                <Cpu size={16} aria-hidden="true" />
                {acceleratorName(accelerator, text)}
              </button>
            </Tooltip>
          }
        >
          <MenuItem onSelect={() => onAccelerate(other)}>{text(`accelerate.${other}`)}</MenuItem>
        </IndicatorWithMenu>
      )}
      <Capture
        name={text(
          mouseCaptured
            ? 'status.mouseCaptured'
            : status?.mouse === 'absolute'
              ? 'status.mouseAbsolute'
              : 'status.mouseFree',
        )}
        active={mouseCaptured}
        icon={<Mouse size={16} aria-hidden="true" />}
      />
      <Capture
        name={text(keyboardCaptured ? 'status.keyboardCaptured' : 'status.keyboardFree')}
        active={keyboardCaptured}
        icon={<Keyboard size={16} aria-hidden="true" />}
      />
      <span className="status__host" data-held={keyboardCaptured || mouseCaptured}>
        <span className="visually-hidden">{text('status.hostKey', { host })}</span>
        <span aria-hidden="true">{host}</span>
      </span>
    </footer>
  );
}

type MachineIndicatorProps = Pick<StatusBarProps, 'machine' | 'status' | 'onLink' | 'onSettings'>;

/** The network's icon, whose context menu pulls the cable and leads to the forwarded ports. */
function NetworkIndicator({ machine, status, onLink, onSettings }: MachineIndicatorProps) {
  const text = useText();
  const network = machine.settings?.network ?? null;
  const activity = status?.activity.network ?? 'none';
  if (activity === 'none' || network === null) {
    return null;
  }
  const { connected, forwards } = network;
  const facts = ['NAT', ...forwards.map(forwardLine)].join(', ');
  return (
    <IndicatorWithMenu
      indicator={
        connected ? (
          <Indicator
            name={text('status.network')}
            activity={activity}
            fact={facts}
            icon={<Network size={16} aria-hidden="true" />}
          />
        ) : (
          <Indicator
            name={text('status.networkUnplugged')}
            activity="idle"
            icon={<Unplug size={16} aria-hidden="true" />}
          />
        )
      }
    >
      <MenuItem onSelect={() => onLink(!connected)}>{text(connected ? 'network.unplug' : 'network.plug')}</MenuItem>
      <MenuItem onSelect={() => onSettings('network')}>{text('network.forwardsMenu')}</MenuItem>
    </IndicatorWithMenu>
  );
}

/** Shared folders, where there are some. */
function SharesIndicator({ machine, status, onSettings }: Omit<MachineIndicatorProps, 'onLink'>) {
  const text = useText();
  const shares = machine.settings?.shares ?? [];
  if (shares.length === 0 || status === undefined || status.accelerator === null) {
    return null;
  }
  const label = `${text('status.shares')}: ${shares.map(({ name }) => name).join(', ')}`;
  return (
    <Tooltip text={label}>
      <button type="button" className="status__item" aria-label={label} onClick={() => onSettings('shares')}>
        <FolderOpen size={16} aria-hidden="true" />
      </button>
    </Tooltip>
  );
}

/** An indicator with a context menu. */
function IndicatorWithMenu({ indicator, children }: { indicator: ReactNode; children: ReactNode }) {
  const [place, landmark] = useLandmark();
  return (
    <ContextMenu.Root>
      <ContextMenu.Trigger ref={place} render={<span className="status__drive" />}>
        {indicator}
      </ContextMenu.Trigger>
      <ContextMenu.Portal container={landmark}>
        <ContextMenu.Positioner className="popup-layer">
          <ContextMenu.Popup className="popup">{children}</ContextMenu.Popup>
        </ContextMenu.Positioner>
      </ContextMenu.Portal>
    </ContextMenu.Root>
  );
}

interface DriveIndicatorProps extends Pick<StatusBarProps, 'status' | 'onInsert' | 'onEject'> {
  readonly name: Drive;
  readonly icon: ReactNode;
}

/** A drive's icon, whose context menu changes the medium. */
function DriveIndicator({ name, icon, status, onInsert, onEject }: DriveIndicatorProps) {
  const text = useText();
  const activity = status?.activity[name] ?? 'none';
  const medium = mediumName(status?.media[name]);
  if (activity === 'none') {
    return null;
  }
  return (
    <IndicatorWithMenu
      indicator={
        <Indicator
          name={text(`status.${name}`)}
          activity={activity}
          fact={medium ?? text('manager.detail.empty')}
          icon={icon}
        />
      }
    >
      <MenuItem onSelect={() => onInsert(name)}>
        {text(name === 'cdrom' ? 'console.insertCd' : 'console.insertFloppy')}
      </MenuItem>
      <MenuItem disabled={medium === undefined} onSelect={() => onEject(name)}>
        {text(name === 'cdrom' ? 'console.ejectCd' : 'console.ejectFloppy')}
      </MenuItem>
    </IndicatorWithMenu>
  );
}

interface IndicatorProps {
  readonly name: string;
  readonly activity: Activity;
  readonly icon: ReactNode;
  readonly fact?: string;
}

/** A device's icon, which lights up when the device works. */
function Indicator({ name, activity, icon, fact }: IndicatorProps) {
  const text = useText();
  if (activity === 'none') {
    return null;
  }
  // The name does not change with the activity, which would make screen readers talk without end.
  const label = fact === undefined ? name : `${name}: ${fact}`;
  return (
    <Tooltip text={`${label} (${text(activity === 'idle' ? 'status.idle' : 'status.busy')})`}>
      <button type="button" className={`status__item status__item--${activity}`} aria-label={label}>
        {icon}
        <span className="status__lamp" aria-hidden="true" />
      </button>
    </Tooltip>
  );
}

function Capture({ name, active, icon }: { name: string; active: boolean; icon: ReactNode }) {
  return (
    <Tooltip text={name}>
      <button type="button" className={`status__item ${active ? 'status__item--captured' : ''}`} aria-label={name}>
        {icon}
        {active && <span className="status__arrow" aria-hidden="true" />}
      </button>
    </Tooltip>
  );
}
