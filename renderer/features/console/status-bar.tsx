import { ContextMenu } from '@base-ui/react/context-menu';
import { Cpu, Disc3, HardDrive, Keyboard, Mouse, Network, Save } from 'lucide-react';
import type { ReactNode } from 'react';
import type { Activity, ConsoleStatus, Drive } from '../../../main/contract/console.ts';
import { useLodge } from '../../api/lodge-context.ts';
import { acceleratorName, acceleratorReason } from '../../i18n/host-texts.ts';
import { useText } from '../../i18n/i18n.ts';
import { useKeyName } from '../../input/key-name.ts';
import { useLandmark } from '../../ui/landmark.ts';
import { MenuItem } from '../../ui/menu.tsx';
import { Tooltip } from '../../ui/tooltip.tsx';
import { mediumName } from './console-dialogs.tsx';

interface StatusBarProps {
  readonly status: ConsoleStatus | undefined;
  readonly keyboardCaptured: boolean;
  readonly mouseCaptured: boolean;
  readonly onInsert: (drive: Drive) => void;
  readonly onEject: (drive: Drive) => void;
}

/** What the devices are doing, who has keyboard and mouse, and what runs the guest. */
export function StatusBar({ status, keyboardCaptured, mouseCaptured, onInsert, onEject }: StatusBarProps) {
  const { settings } = useLodge();
  const text = useText();
  const keyName = useKeyName();
  const host = keyName(settings.hostKey);
  const accelerator = status?.accelerator ?? undefined;
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
      <Indicator
        name={text('status.network')}
        activity={status?.activity.network ?? 'none'}
        icon={<Network size={16} aria-hidden="true" />}
      />
      <span className="status__space" />
      {accelerator !== undefined && (
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
      )}
      <Capture
        name={text(mouseCaptured ? 'status.mouseCaptured' : 'status.mouseFree')}
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

interface DriveIndicatorProps extends Pick<StatusBarProps, 'status' | 'onInsert' | 'onEject'> {
  readonly name: Drive;
  readonly icon: ReactNode;
}

/** A drive's icon, whose context menu changes the medium. */
function DriveIndicator({ name, icon, status, onInsert, onEject }: DriveIndicatorProps) {
  const text = useText();
  const [place, landmark] = useLandmark();
  const activity = status?.activity[name] ?? 'none';
  const medium = mediumName(status?.media[name]);
  if (activity === 'none') {
    return null;
  }
  return (
    <ContextMenu.Root>
      <ContextMenu.Trigger ref={place} render={<span className="status__drive" />}>
        <Indicator
          name={text(`status.${name}`)}
          activity={activity}
          fact={medium ?? text('manager.detail.empty')}
          icon={icon}
        />
      </ContextMenu.Trigger>
      <ContextMenu.Portal container={landmark}>
        <ContextMenu.Positioner className="popup-layer">
          <ContextMenu.Popup className="popup">
            <MenuItem onSelect={() => onInsert(name)}>
              {text(name === 'cdrom' ? 'console.insertCd' : 'console.insertFloppy')}
            </MenuItem>
            <MenuItem disabled={medium === undefined} onSelect={() => onEject(name)}>
              {text(name === 'cdrom' ? 'console.ejectCd' : 'console.ejectFloppy')}
            </MenuItem>
          </ContextMenu.Popup>
        </ContextMenu.Positioner>
      </ContextMenu.Portal>
    </ContextMenu.Root>
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
