import { FolderPlus, Plus, Settings as SettingsIcon, Sparkles } from 'lucide-react';
import { useEffect, useState } from 'react';
import { showError, useLodge, useShell } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { Logo } from '../../ui/logo.tsx';
import { Tooltip } from '../../ui/tooltip.tsx';
import { SettingsDialog } from '../settings/settings-dialog.tsx';
import { Wizard } from '../wizard/wizard.tsx';
import { AddDialog } from './add-dialog.tsx';
import { MachineDetails } from './machine-details.tsx';
import { MachineList } from './machine-list.tsx';
import './manager.css';
import { useMachineActions } from './use-machine-actions.ts';

/** The main window: every machine there is, and the one that is selected. */
export function Manager() {
  const { machines } = useLodge();
  const text = useText();
  const actions = useMachineActions();
  const [selected, setSelected] = useState<string>();
  const [open, setOpen] = useState<'wizard' | 'settings' | 'add'>();
  const close = () => setOpen(undefined);
  const machine = machines.find(({ id }) => id === selected) ?? machines[0];

  useEffect(() => {
    document.title = text('manager.title');
  }, [text]);

  return (
    <div className="manager">
      <header className="app-bar">
        <h1 className="app-bar__title">
          <Logo /> Lodge
        </h1>
        <Button
          className="app-bar__end"
          {...(machines.length === 0 ? {} : { look: 'primary' as const })}
          icon={<Plus size={17} aria-hidden="true" />}
          onClick={() => setOpen('wizard')}
        >
          {text('manager.new')}
        </Button>
        <Tooltip text={text('manager.addHint')}>
          <Button look="quiet" icon={<FolderPlus size={18} aria-hidden="true" />} onClick={() => setOpen('add')}>
            {text('manager.add')}
          </Button>
        </Tooltip>
        <Tooltip text={text('manager.settings')}>
          <Button
            look="quiet"
            aria-label={text('manager.settings')}
            icon={<SettingsIcon size={18} aria-hidden="true" />}
            onClick={() => setOpen('settings')}
          />
        </Tooltip>
      </header>
      {machine === undefined ? (
        <Welcome onDemo={setSelected} />
      ) : (
        <div className="manager__columns">
          <nav className="sidebar" aria-labelledby="machines-heading">
            <h2 id="machines-heading" className="sidebar__heading">
              {text('manager.machines')} <span className="sidebar__count">{machines.length}</span>
            </h2>
            <MachineList machines={machines} selected={machine.id} onSelect={setSelected} onOpen={actions.open} />
          </nav>
          <main className="manager__main">
            <MachineDetails key={machine.id} machine={machine} actions={actions} />
          </main>
        </div>
      )}
      {open === 'wizard' && (
        <Wizard
          onClose={close}
          onCreated={(id) => {
            setSelected(id);
            close();
          }}
        />
      )}
      {open === 'add' && <AddDialog onClose={close} onAdded={setSelected} />}
      {open === 'settings' && <SettingsDialog onClose={close} />}
    </div>
  );
}

function Welcome({ onDemo }: { onDemo: (id: string) => void }) {
  const { api } = useLodge();
  const shell = useShell();
  const text = useText();
  const [busy, setBusy] = useState(false);

  const tryDemo = async () => {
    setBusy(true);
    try {
      const made = api.call('machines.createDemo').then(({ id }) => id);
      shell.openConsoleOfNew(made);
      const id = await made;
      onDemo(id);
      await api.call('machines.start', { id });
    } catch (error) {
      showError(error);
    } finally {
      setBusy(false);
    }
  };

  return (
    <main className="welcome">
      <div className="welcome__inner">
        <Logo size={72} />
        <h2 className="welcome__title">{text('manager.empty.title')}</h2>
        <p className="welcome__text">{text('manager.empty.text')}</p>
        <Button
          look="primary"
          className="welcome__button"
          icon={<Sparkles size={17} aria-hidden="true" />}
          aria-describedby="try-hint"
          disabled={busy}
          onClick={tryDemo}
        >
          {text('manager.empty.try')}
        </Button>
        <p id="try-hint" className="muted">
          {text('manager.empty.tryHint')}
        </p>
      </div>
    </main>
  );
}
