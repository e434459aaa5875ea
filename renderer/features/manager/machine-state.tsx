import { Ban, CirclePause, CirclePlay, CircleStop, LoaderCircle, OctagonAlert, Power } from 'lucide-react';
import type { Machine, MachineState } from '../../../main/contract/machines.ts';
import { useText } from '../../i18n/i18n.ts';

const ICONS: Readonly<Record<MachineState, typeof Power>> = {
  'powered-off': Power,
  starting: LoaderCircle,
  running: CirclePlay,
  paused: CirclePause,
  stopping: CircleStop,
  aborted: OctagonAlert,
  inaccessible: Ban,
};

/** The state of a machine as icon and word, in its colour. */
export function MachineStateLabel({ state }: { state: MachineState }) {
  const text = useText();
  const Icon = ICONS[state];
  return (
    <span className={`state state--${state}`}>
      <Icon size={14} aria-hidden="true" className={state === 'starting' ? 'spinner' : ''} />
      {text(`state.${state}`)}
    </span>
  );
}

/** Whether the machine has a process. */
export function isActive({ state }: Pick<Machine, 'state'>): boolean {
  return state === 'running' || state === 'paused' || state === 'starting' || state === 'stopping';
}

export function canStart({ state }: Pick<Machine, 'state'>): boolean {
  return state === 'powered-off' || state === 'aborted';
}
