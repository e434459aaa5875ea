import { type FormEvent, useRef, useState } from 'react';
import type { ConsoleStatus, Drive } from '../../../main/contract/console.ts';
import type { Machine } from '../../../main/contract/machines.ts';
import { errorText, useChangeSettings, useLodge, useShell } from '../../api/lodge-context.ts';
import { acceleratorName, acceleratorReason } from '../../i18n/host-texts.ts';
import { useText } from '../../i18n/i18n.ts';
import { useKeyName } from '../../input/key-name.ts';
import { Button } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { Checkbox, Choices, Field } from '../../ui/field.tsx';
import { fileName } from '../../ui/format.ts';
import { Logo } from '../../ui/logo.tsx';
import { PathField } from '../../ui/path-field.tsx';
import { HOST_SHORTCUTS } from './shortcuts.ts';

interface ConsoleDialogProps {
  readonly machine: Machine;
  readonly onClose: () => void;
}

/** The first click on the guest's screen: says how to get the mouse back. */
export function CaptureDialog({ onClose, onCapture }: { onClose: () => void; onCapture: () => void }) {
  const { settings } = useLodge();
  const change = useChangeSettings();
  const text = useText();
  const keyName = useKeyName();
  const [never, setNever] = useState(false);
  const capture = useRef<HTMLButtonElement>(null);
  return (
    <Dialog
      initialFocus={capture}
      title={text('capture.title')}
      description={text('capture.text', { host: keyName(settings.hostKey) })}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{text('common.cancel')}</Button>
          <Button
            ref={capture}
            look="primary"
            onClick={() => {
              if (never) {
                change({ dismissedWarnings: [...settings.dismissedWarnings, 'capture'] });
              }
              onCapture();
            }}
          >
            {text('capture.capture')}
          </Button>
        </>
      }
    >
      <Checkbox label={text('common.dontShowAgain')} checked={never} onChange={setNever} />
    </Dialog>
  );
}

/** Text to be typed on the guest's keyboard. */
export function SendTextDialog({ machine, onClose }: ConsoleDialogProps) {
  const { api } = useLodge();
  const text = useText();
  const [value, setValue] = useState('');
  const [problem, setProblem] = useState<string>();

  const send = async (event: FormEvent) => {
    event.preventDefault();
    try {
      const { unknown } = await api.call('console.sendText', { machine: machine.id, text: value });
      if (unknown.length === 0) {
        onClose();
      } else {
        setProblem(text('console.sendTextUnknown', { characters: [...new Set(unknown)].join(' ') }));
      }
    } catch (error) {
      setProblem(errorText(error));
    }
  };

  return (
    <Dialog
      title={text('console.sendTextTitle')}
      onClose={onClose}
      onSubmit={send}
      actions={
        <>
          <Button onClick={onClose}>{text('common.cancel')}</Button>
          <Button look="primary" type="submit" disabled={value === ''}>
            {text('console.send')}
          </Button>
        </>
      }
    >
      <Field label={text('console.sendTextLabel')} hint={text('console.sendTextHint')} error={problem}>
        {(ids) => (
          <textarea
            {...ids}
            className="input"
            rows={4}
            maxLength={10_000}
            spellCheck={false}
            value={value}
            onChange={(event) => setValue(event.target.value)}
          />
        )}
      </Field>
    </Dialog>
  );
}

/** An image for a drive. */
export function InsertDialog({ machine, drive, onClose }: ConsoleDialogProps & { drive: Drive }) {
  const { api } = useLodge();
  const text = useText();
  const [path, setPath] = useState('');
  const [problem, setProblem] = useState<string>();

  const insert = async (event: FormEvent) => {
    event.preventDefault();
    try {
      await api.call('console.insertMedium', { machine: machine.id, drive, path: path.trim() });
      onClose();
    } catch (error) {
      setProblem(errorText(error));
    }
  };

  return (
    <Dialog
      title={text(`console.insertTitle.${drive}`)}
      onClose={onClose}
      onSubmit={insert}
      actions={
        <>
          <Button onClick={onClose}>{text('common.cancel')}</Button>
          <Button look="primary" type="submit" disabled={path.trim() === ''}>
            {text('console.insert')}
          </Button>
        </>
      }
    >
      <PathField
        label={text('console.insertLabel')}
        want="file"
        value={path}
        onChange={(value) => {
          setPath(value);
          setProblem(undefined);
        }}
        error={problem}
      />
    </Dialog>
  );
}

/** What is known of the running machine. */
export function InformationDialog({ machine, onClose, status }: ConsoleDialogProps & { status?: ConsoleStatus }) {
  const text = useText();
  const { accelerator, startedAt } = machine;
  const media = status?.media;
  const rows: readonly (readonly [string, string])[] = [
    [text('info.state'), text(`state.${machine.state}`)],
    ...(startedAt === null ? [] : ([[text('info.started'), new Date(startedAt).toLocaleString()]] as const)),
    ...(accelerator === null
      ? []
      : ([
          [
            text('manager.detail.accelerator'),
            `${acceleratorName(accelerator, text)}: ${acceleratorReason(accelerator, text)}`,
          ],
        ] as const)),
    ...(status === undefined || status.screen.width === 0
      ? []
      : ([[text('info.screen'), `${status.screen.width} × ${status.screen.height}`]] as const)),
    ...(media?.cdrom == null ? [] : ([[text('manager.detail.optical'), media.cdrom]] as const)),
    ...(media?.floppy == null ? [] : ([[text('manager.detail.floppy'), media.floppy]] as const)),
    ...(machine.logPath === null ? [] : ([[text('manager.log'), machine.logPath]] as const)),
  ];
  return (
    <Dialog
      title={text('console.information')}
      onClose={onClose}
      actions={
        <Button look="primary" onClick={onClose}>
          {text('common.close')}
        </Button>
      }
    >
      <dl className="information">
        {rows.map(([label, value]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

/** The keys that never reach the guest. */
export function ShortcutsDialog({ onClose }: { onClose: () => void }) {
  const { settings } = useLodge();
  const shell = useShell();
  const text = useText();
  const keyName = useKeyName();
  const host = keyName(settings.hostKey);
  return (
    <Dialog
      title={text('console.shortcuts')}
      description={text('console.shortcutsHint', { host })}
      onClose={onClose}
      actions={
        <Button look="primary" onClick={onClose}>
          {text('common.close')}
        </Button>
      }
    >
      <dl className="information information--keys">
        <div>
          <dt>
            <kbd>{host}</kbd>
          </dt>
          <dd>{text('console.release')}</dd>
        </div>
        {HOST_SHORTCUTS.map(({ label, message }) => (
          <div key={label}>
            <dt>
              <kbd>Host+{label}</kbd>
            </dt>
            <dd>{text(message)}</dd>
          </div>
        ))}
        <div>
          <dt>
            <kbd>Host+F1…F12</kbd>
          </dt>
          <dd>{text('console.sendKey', { key: 'Ctrl+Alt+F1…F12' })}</dd>
        </div>
      </dl>
      {shell.kind === 'web' && <p className="field__hint">{text('console.shortcutsBrowser')}</p>}
    </Dialog>
  );
}

export function AboutDialog({ onClose }: { onClose: () => void }) {
  const { info } = useLodge();
  const text = useText();
  return (
    <Dialog
      title={text('console.about')}
      onClose={onClose}
      actions={
        <Button look="primary" onClick={onClose}>
          {text('common.close')}
        </Button>
      }
    >
      <div className="about">
        <Logo size={48} />
        <p>
          Lodge {info.versions.lodge}
          <span className="field__hint">
            Node.js {info.versions.node} · {info.host.platform} {info.host.arch}
          </span>
        </p>
      </div>
    </Dialog>
  );
}

export type CloseChoice = 'keep-running' | 'shutdown' | 'power-off';

/** What becomes of a running machine whose window is closed. The last choice is the first one offered. */
export function CloseDialog(props: ConsoleDialogProps & { onChoose: (choice: CloseChoice) => void }) {
  const { machine, onClose, onChoose } = props;
  const { settings } = useLodge();
  const change = useChangeSettings();
  const text = useText();
  const last = settings.closeAction === 'ask' ? 'keep-running' : settings.closeAction;
  const [choice, setChoice] = useState<CloseChoice>(last);
  return (
    <Dialog
      alert
      title={text('close.title', { name: machine.name })}
      description={text('close.text')}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{text('common.cancel')}</Button>
          <Button
            look={choice === 'power-off' ? 'danger' : 'primary'}
            onClick={() => {
              change({ closeAction: choice });
              onChoose(choice);
            }}
          >
            {text('common.ok')}
          </Button>
        </>
      }
    >
      <Choices
        label={text('close.how')}
        labelHidden
        value={choice}
        onChange={setChoice}
        choices={[
          { value: 'keep-running', label: text('close.background'), detail: text('close.backgroundHint') },
          { value: 'shutdown', label: text('close.shutdown'), detail: text('close.shutdownHint') },
          { value: 'power-off', label: text('close.powerOff'), detail: text('close.powerOffHint') },
        ]}
      />
    </Dialog>
  );
}

/** The image in a drive, for people. */
export function mediumName(path: string | null | undefined): string | undefined {
  return path == null ? undefined : fileName(path);
}
